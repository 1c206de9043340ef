-- Whether a platform has anything for later, or something is wanted back.
select exists (select from duly.handed_over where ended_at is null) or exists (select from duly.recall where not done) as any
