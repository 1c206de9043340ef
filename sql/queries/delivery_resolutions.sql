-- What the reconciler was told about a delivery. $1 id.
select answer, became::text as became, became = 'uncertain' and detail like '%a person must decide' as held, detail, at
from duly.resolution where delivery_id = $1 order by at
