-- What a campaign's variants have brought. $1 campaign, $2 workspace.
select variant, tested, members, sent, hits from duly.campaign_results($1, $2)
