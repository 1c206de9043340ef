-- Erases what was queued for people just while they were erased; how many deliveries.
select duly.erase_again()
