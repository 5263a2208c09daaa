"""The only object-store code: blobs by content, snapshots of folders, logs by offset."""
