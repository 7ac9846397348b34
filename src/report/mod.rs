//! The drawing kit: plain numbers, ink and words → charts, pictures and pages. What they mean is known by
//! the rooms that have pages, each in its `page.rs`.
//!
//! [`plot`] draws charts to SVG or PNG, [`picture`] turns ink into PNG, and [`html`] puts both into
//! one file that opens offline.

pub mod confusions;
pub mod distances;
pub mod html;
pub mod map;
pub mod picture;
pub mod plot;
