mod change;
mod figures;
mod files;
mod given;
mod spans;
