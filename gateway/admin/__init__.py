"""The admin API: a table of resources (`resources`) over one generic JSON handler (`handler`)."""
