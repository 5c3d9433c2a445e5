//! Snapshots: an initialised instance frozen into a file, restored by mapping that file, reset by putting back what was
//! written.
//!
//! Nothing that one call wrote may be seen by the next. What is restored and reset: globals, tables, segment flags,
//! memory and its length (all in the image or described by it), the header's words (written anew), and what
//! the embedder holds for the guest (replaced by its owner).

mod capture;
mod checked;
mod image;
mod layer;
mod linked;
mod prefetch;
mod reset;
mod restore;
mod working_set;

pub use capture::ImageReport;
pub use checked::CheckedImage;
pub use image::{Image, ImageError};
pub use prefetch::{Gathering, Prefetch};
pub use reset::{ResetError, ResetReport};
pub use restore::RestoreError;
