-- Notes that an upload is done. When it has committed, all of the upload is on the disk. $1 upload.
select duly.upload_end($1)
