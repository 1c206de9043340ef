-- Notes the replies to campaigns that have come since the last look.
select duly.campaign_replies() as noted
