-- The dashboard and monitoring queries of the designs that sql/compat/ is compatible with, as they stand there.

-- ! rundown: daily message volume
SELECT DATE(sent_at), COUNT(*) 
FROM messages 
WHERE status = 'sent' 
GROUP BY DATE(sent_at);

-- ! rundown: success rates by message style
SELECT u.message_style, 
       COUNT(CASE WHEN m.status = 'sent' THEN 1 END) as sent,
       COUNT(CASE WHEN m.status = 'failed' THEN 1 END) as failed
FROM messages m
JOIN users u ON m.user_id = u.id
GROUP BY u.message_style;

-- ! buildos: messages sent today
SELECT COUNT(*) as sent_today
FROM message_jobs
WHERE status = 'sent'
AND sent_at >= CURRENT_DATE;

-- ! buildos: failed messages requiring attention
SELECT * FROM message_jobs
WHERE status = 'failed'
AND created_at >= NOW() - INTERVAL '24 hours'
ORDER BY created_at DESC;

-- ! buildos: queue depth monitoring
SELECT
  pgmq.metrics('sms_queue') as regular_queue,
  pgmq.metrics('sms_priority_queue') as priority_queue;

-- ! prasso: check queued deliveries
SELECT COUNT(*) FROM msg_deliveries WHERE status = 'queued';

-- ! prasso: check delivery success rate
SELECT channel, status, COUNT(*) as count
FROM msg_deliveries
GROUP BY channel, status;

-- ! prasso: check recent failures
SELECT * FROM msg_deliveries
WHERE status IN ('failed', 'skipped')
AND created_at > DATE_SUB(NOW(), INTERVAL 1 HOUR);
