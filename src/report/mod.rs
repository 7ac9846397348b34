//! Result structs → pictures and pages. Nothing here measures; nothing else here draws.
//!
//! [`plot`] draws charts to SVG or PNG, [`picture`] turns ink into PNG, and [`html`] puts both into
//! one file that opens offline.

pub mod decisions;
pub mod html;
pub mod map;
pub mod picture;
pub mod plot;
