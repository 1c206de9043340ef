-- Has series planned again that have changed or got new members. See duly.reopen_series.
select duly.reopen_series()
