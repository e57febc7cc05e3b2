-- How many restores there were, and how many of them were completed.
SELECT COUNT(*), COALESCE(SUM(ok), 0) FROM restores;
