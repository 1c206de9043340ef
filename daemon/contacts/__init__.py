"""People and where they are reached: addresses in one form, files of contacts, consent and do-not-contact lists."""
