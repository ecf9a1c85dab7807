mod change;
mod figures;
mod files;
mod spans;
