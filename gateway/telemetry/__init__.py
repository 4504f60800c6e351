"""What the gateway tells: log lines and metrics. Who is told and when is the edge's and the admin API's business."""
