//! What this workspace's tests share.
