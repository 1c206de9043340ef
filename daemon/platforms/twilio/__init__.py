"""Twilio SMS: https://www.twilio.com/docs/messaging/api/message-resource"""

from daemon.platforms.twilio.api import Twilio, TwilioAccount

__all__ = ["Twilio", "TwilioAccount"]
