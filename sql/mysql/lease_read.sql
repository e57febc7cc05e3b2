-- Who holds a lease. Parameter: name.
SELECT owner, fence FROM leases WHERE name = ?;
