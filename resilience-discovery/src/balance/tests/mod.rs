mod choice;
mod fleet;
mod lifecycle;
mod readiness;
mod threads;
