-- Of which version the zones and numbering plans in the database are.
select version from duly.almanac
