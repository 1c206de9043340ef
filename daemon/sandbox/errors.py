"""Twilio's errors: one table of the codes the sandbox answers with.

Source: https://www.twilio.com/docs/api/errors/CODE for each.
"""

from __future__ import annotations

from typing import Any

_TABLE: dict[int, tuple[int, str]] = {
    20001: (400, "Invalid parameter: {}"),
    20003: (401, "Authenticate"),
    20004: (405, "Method not allowed"),
    20404: (404, "The requested resource {} was not found"),
    20429: (429, "Too Many Requests"),
    20500: (500, "Internal Server Error"),
    20503: (503, "Service Unavailable"),
    21211: (400, "The 'To' number {} is not a valid phone number."),
    21212: (400, "The 'From' number {} is not a valid phone number, shortcode, or alphanumeric sender ID."),
    21266: (400, "'To' and 'From' number cannot be the same: {}"),
    21602: (400, "Message body is required."),
    21603: (400, "A 'From' phone number is required."),
    21604: (400, "A 'To' phone number is required."),
    21609: (400, "The 'StatusCallback' URL {} is not a valid URL."),
    21610: (400, "Attempt to send to unsubscribed recipient"),
    21617: (400, "The concatenated message body exceeds the 1600 character limit"),
    21620: (400, "Invalid media URL(s)"),
    21623: (400, "Number of media files exceeds allowed limit"),
    21624: (400, "Invalid validity period value"),
    21656: (400, "The ContentVariables parameter is invalid"),
    21701: (400, "The Messaging Service {} does not exist"),
    21910: (400, "Invalid From and To pair. From and To should be of the same channel"),
    30409: (409, "This message cannot be canceled"),
    35111: (400, "SendAt timestamp is missing"),
    35114: (400, "SendAt time must be between 300 seconds and 35 days (3024000 seconds) in the future"),
    35126: (400, "The ScheduleType value provided is not supported for this channel"),
}


class TwilioError(Exception):
    """A request that Twilio refuses. `subject` fills the gap in the code's message."""

    def __init__(self, code: int, subject: str = "") -> None:
        self.code = code
        self.status, template = _TABLE[code]
        self.message = template.format(subject)
        super().__init__(self.message)

    def payload(self) -> dict[str, Any]:
        """The JSON body of the answer."""
        return {
            "code": self.code,
            "message": self.message,
            "more_info": f"https://www.twilio.com/docs/errors/{self.code}",
            "status": self.status,
        }

    def headers(self) -> dict[str, str]:
        """The headers that go with it."""
        if self.status == 401:
            return {"WWW-Authenticate": 'Basic realm="Twilio API"'}
        return {"Retry-After": "1"} if self.status == 429 else {}
