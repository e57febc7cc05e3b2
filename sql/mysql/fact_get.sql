-- Parameter: name.
SELECT json FROM facts WHERE name = ?;
