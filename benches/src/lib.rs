//! What the criterion benches and the load harness share.

pub mod checks;
pub mod fortress;
pub mod harness;
pub mod load;
pub mod peers;
pub mod process;
