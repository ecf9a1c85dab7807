mod headers;
mod retries;
mod statuses;
mod until_end;
