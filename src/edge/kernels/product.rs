//! The kinds of products that kernels compute.

/// What is multiplied by what.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Product {
    /// float32 by float32.
    Float,
    /// Up to 127 by int8.
    Int7,
    /// uint8 by int8.
    Int8,
    /// int16 by int16, in tiles.
    Int16,
}

impl Product {
    /// All.
    pub const ALL: [Self; 4] = [Self::Float, Self::Int7, Self::Int8, Self::Int16];

    /// For reports.
    pub fn name(self) -> &'static str {
        match self {
            Self::Float => "float32",
            Self::Int7 => "7 by 8 bits",
            Self::Int8 => "8 by 8 bits",
            Self::Int16 => "16 by 16 bits",
        }
    }
}
