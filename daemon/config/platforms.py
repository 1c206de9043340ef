"""`[platforms.NAME]`: one model a kind of account.

A new kind is one model here, added to the union `PlatformConfig`.
"""

from __future__ import annotations

from typing import Annotated, Any, ClassVar, Literal, get_args

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, GetCoreSchemaHandler, field_validator
from pydantic_core import CoreSchema, core_schema
from pydantic_core.core_schema import ValidationInfo

from daemon.config.problems import invalid
from daemon.config.secrets import Secret
from daemon.config.values import E164, Burst, Rate, Url, matching
from daemon.model import Channel


class Section(BaseModel):
    """A table of the TOML: frozen, no other keys, no guessed types, no NaN, and no value in an error."""

    model_config = ConfigDict(
        frozen=True,
        extra="forbid",
        strict=True,
        allow_inf_nan=False,
        hide_input_in_errors=True,
        use_attribute_docstrings=True,
    )


class AccountConfig(Section):
    """What every kind of account has."""

    channels: ClassVar[frozenset[Channel]]
    """The channels that it carries."""

    base_url: Url
    """Where the platform's API is; a stand-in for trying out. Without a trailing slash."""

    rate_per_second: Rate | None = Field(default=None, examples=[25])
    """Segments a second that the account may send; None: no limit of ours."""

    rate_per_minute: Rate | None = Field(default=None, examples=[1000])
    """Segments a minute that the account may send; None: no limit of ours."""

    burst: Burst | None = Field(default=None, examples=[25])
    """Segments that may go at once. None: evenly spread, at most a twentieth of a second's."""

    planned_per_hour: Annotated[float, Field(ge=1, le=10_000_000)] = 100.0
    """Segments an hour that what is planned (series, campaigns) is spread by; never more than the limits let go."""

    concurrency: int = Field(default=50, ge=1, le=2000)
    """Calls in flight at once, at most."""

    adaptive: bool = True
    """Go slower than the two above allow while the platform refuses (429) or its answers take ever longer."""

    timeout_seconds: float = Field(default=15.0, gt=0, le=300)
    """A call that has no answer after this many seconds is uncertain."""

    on_uncertain: Literal["hold", "resend"] = "hold"
    """Where the platform cannot say whether it took a message: hold it for a person, or send it again."""

    patience_seconds: float = Field(default=60.0, ge=1, le=3600)
    """How long an uncertain call may still turn up at the platform before it counts as never made. Seconds."""

    max_attempts: int = Field(default=5, ge=1, le=100)
    """Calls that are made for one delivery, at most."""

    enabled: bool = True
    """False: nothing is sent by this account."""


_SID_REMEDY = "copy it from the Twilio console"


class TwilioConfig(AccountConfig):
    """An account at Twilio, or at a stand-in that speaks its protocol."""

    channels: ClassVar[frozenset[Channel]] = frozenset({Channel.SMS})

    kind: Literal["twilio"]
    """Which platform it is."""

    base_url: Url = "https://api.twilio.com"
    """Where the platform's API is; a stand-in for trying out. Without a trailing slash."""

    account_sid: Annotated[
        str, AfterValidator(matching("AC[0-9a-fA-F]{32}", "must be AC and 32 hex digits", _SID_REMEDY))
    ] = Field(examples=["AC0123456789abcdef0123456789abcdef"])
    """The account: AC and 32 hex digits."""

    auth_token: Secret
    """Signs our calls and Twilio's callbacks."""

    messaging_service_sid: (
        Annotated[
            str, AfterValidator(matching("MG[0-9a-fA-F]{32}", "must be MG and 32 hex digits", _SID_REMEDY))
        ]
        | None
    ) = Field(default=None, examples=["MG0123456789abcdef0123456789abcdef"])
    """The messaging service that chooses the sender: MG and 32 hex digits. Instead of `from`."""

    native_scheduling: bool = False
    """Give Twilio what is due in 5 minutes to 35 days, for it to send then; needs messaging_service_sid."""

    sender: E164 | None = Field(default=None, alias="from", examples=["+15005550006"], validate_default=True)
    """`from` in the TOML: the number that messages come from. Instead of messaging_service_sid."""

    @field_validator("native_scheduling")
    @classmethod
    def _by_a_service(cls, wanted: bool, info: ValidationInfo) -> bool:
        if wanted and info.data.get("messaging_service_sid", "") is None:
            raise invalid(
                "needs messaging_service_sid: Twilio schedules for messaging services only",
                'add messaging_service_sid = "MG…" in the place of from, or remove it',
            )
        return wanted

    @field_validator("sender")
    @classmethod
    def _one_sender(cls, sender: str | None, info: ValidationInfo) -> str | None:
        if "messaging_service_sid" not in info.data:  # it is wrong in itself, and reported so
            return sender
        service = info.data["messaging_service_sid"]
        if sender is None and service is None:
            raise invalid(
                "is required where there is no messaging_service_sid",
                'add from = "+…" or messaging_service_sid = "MG…"',
            )
        if sender is not None and service is not None:
            raise invalid("stands beside messaging_service_sid", "keep one of the two")
        return sender


class _ByKind:
    """Chooses the model by the table's `kind`; pydantic's own discriminator refuses a union of one."""

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        choices = {kind: handler.generate_schema(model) for kind, model in _kinds(source).items()}
        return core_schema.tagged_union_schema(choices, discriminator="kind", from_attributes=False)


def _kinds(union: Any) -> dict[str, type[AccountConfig]]:
    models = get_args(union) or (union,)
    return {kind: model for model in models for kind in get_args(model.model_fields["kind"].annotation)}


PlatformConfig = TwilioConfig
"""One account of any kind: the union of the models above."""

PLATFORM_KINDS: dict[str, type[AccountConfig]] = _kinds(PlatformConfig)
"""Every `kind` that may be written, and its model."""

AnyPlatform = Annotated[PlatformConfig, _ByKind()]
"""`PlatformConfig` as a field's type."""
