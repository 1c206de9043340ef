"""Twilio's codes in our words: one table.

From https://www.twilio.com/docs/api/errors, code by code. Codes not listed fall to `UNLISTED`: tried again a
few times and counted, because most of Twilio's unlisted codes are faults of the moment.
"""

from __future__ import annotations

from daemon.model import Reason

UNLISTED = Reason.UNKNOWN_ERROR

REASONS: dict[int, Reason] = {
    # the request
    20001: Reason.BAD_REQUEST,
    20003: Reason.BAD_CREDENTIALS,
    20005: Reason.ACCOUNT_SUSPENDED,
    20008: Reason.BAD_CREDENTIALS,  # a test credential was used
    20404: Reason.BAD_CREDENTIALS,  # the account does not exist
    20429: Reason.RATE_LIMITED,
    20500: Reason.PROVIDER_ERROR,
    20503: Reason.PROVIDER_UNAVAILABLE,
    14107: Reason.RATE_LIMITED,  # a loop: 30 replies to one number in 30 s
    21211: Reason.INVALID_ADDRESS,
    21212: Reason.BAD_SENDER,
    21215: Reason.REGION_BLOCKED,
    21217: Reason.INVALID_ADDRESS,
    21408: Reason.REGION_BLOCKED,
    21602: Reason.BAD_REQUEST,
    21603: Reason.BAD_SENDER,
    21604: Reason.INVALID_ADDRESS,
    21606: Reason.BAD_SENDER,
    21607: Reason.BAD_SENDER,
    21608: Reason.NOT_REACHABLE,  # a trial account and a number that is not verified
    21609: Reason.BAD_REQUEST,  # the StatusCallback URL
    21610: Reason.OPTED_OUT,
    21611: Reason.QUEUE_FULL,
    21612: Reason.REGION_BLOCKED,  # no route between this sender and this recipient
    21614: Reason.NOT_MOBILE,
    21617: Reason.CONTENT_TOO_LONG,
    21620: Reason.CONTENT_REJECTED,
    21623: Reason.CONTENT_REJECTED,
    21635: Reason.NOT_MOBILE,
    21701: Reason.BAD_SENDER,
    21703: Reason.BAD_SENDER,
    21704: Reason.BAD_SENDER,
    21705: Reason.BAD_SENDER,
    # scheduling: it is sent by ourselves when its time comes
    35111: Reason.NOT_SCHEDULED,
    35114: Reason.NOT_SCHEDULED,  # 35114 to 35117: too soon, too far ahead, or no time at all
    35115: Reason.NOT_SCHEDULED,
    35116: Reason.NOT_SCHEDULED,
    35117: Reason.NOT_SCHEDULED,
    35118: Reason.NOT_SCHEDULED,  # without a messaging service
    35125: Reason.NOT_SCHEDULED,  # the account has 500,000 already
    35126: Reason.NOT_SCHEDULED,
    # the delivery, later and by callback
    30020: Reason.CARRIER_ERROR,  # Twilio's own failure with a scheduled message
    30001: Reason.QUEUE_FULL,
    30002: Reason.ACCOUNT_SUSPENDED,
    30003: Reason.UNREACHABLE_NOW,
    30004: Reason.NOT_REACHABLE,
    30005: Reason.NOT_REACHABLE,
    30006: Reason.NOT_MOBILE,
    30007: Reason.FILTERED,
    30008: Reason.CARRIER_ERROR,
    30010: Reason.CONTENT_REJECTED,
    30022: Reason.RATE_LIMITED,
    30023: Reason.DAILY_LIMIT,
    30024: Reason.BAD_SENDER,
    30032: Reason.NOT_REGISTERED,
    30034: Reason.NOT_REGISTERED,
    30410: Reason.CARRIER_ERROR,
    30500: Reason.CARRIER_ERROR,
    # other channels by way of Twilio
    63003: Reason.INVALID_ADDRESS,
    63016: Reason.TEMPLATE_REQUIRED,
    63017: Reason.RATE_LIMITED,
    63018: Reason.RATE_LIMITED,
    63024: Reason.INVALID_ADDRESS,
    63038: Reason.DAILY_LIMIT,
}


def reason_for(code: int | None) -> Reason:
    """Our word for Twilio's code; `UNLISTED` for one the table does not have."""
    return UNLISTED if code is None else REASONS.get(code, UNLISTED)
