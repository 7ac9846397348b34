//! Which nodes are lowered, and why the rest are not.

use crate::onnx::NodeProto;
use serde::{Serialize, Serializer};

/// What of a model runs as one program.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Coverage {
    /// The nodes that do.
    pub lowered: Vec<String>,
    /// Those that are left to tract's own operators.
    pub left: Vec<Refusal>,
}

/// A node that is left to tract's own operators.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Refusal {
    /// The node; where it has no name, its first result.
    pub node: String,
    /// Its operator.
    pub op: String,
    /// What keeps it out of the program.
    pub why: Why,
}

impl Refusal {
    pub(super) fn of(node: &NodeProto, why: Why) -> Self {
        Self { node: label(node), op: node.op_type().into(), why }
    }
}

/// The name of a node; where it has none, that of its first result.
pub(super) fn label(node: &NodeProto) -> String {
    let result = node.output.first().map_or("", String::as_str);
    if node.name().is_empty() { result.into() } else { node.name().into() }
}

impl std::fmt::Display for Refusal {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} ({}): it {}", self.node, self.op, self.why)
    }
}

macro_rules! reasons {
    ($($reason:ident = $words:literal,)*) => {
        /// A reason not to lower a node.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        #[allow(missing_docs)] // Their words are in `Display`.
        pub enum Why {
            $($reason,)*
        }

        impl std::fmt::Display for Why {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str(match self {
                    $(Self::$reason => $words,)*
                })
            }
        }
    };
}

reasons! {
    Input = "depends on a node that is not lowered",
    Foreign = "is of a foreign domain",
    Unknown = "is an operator that is not known here",
    Function = "is a function that no step computes",
    Comparison = "compares, selects or counts, which no step does",
    Movement = "moves elements in a way that no step does",
    Reduction = "reduces along axes that are not all pixels of a map",
    Normalisation = "normalises along other axes than the last",
    Resampling = "spreads pixels over a larger map, which no step does",
    Bytes = "computes with the image in 8 bits",
    Type = "casts to another type than float32",
    Variable = "takes weights or settings that are not constant",
    Axes = "works along other axes than those of images `[N, C, H, W]` or rows `[N, D]`",
    Scaled = "scales or transposes its product",
    AutoPad = "pads in a way that is not known here",
    Padding = "pads in another way than by zeros for a convolution",
    Shape = "has inputs whose shapes do not fit",
    Operands = "has operands that no step takes together",
    Limits = "clips to an interval that is empty",
    Training = "is in training mode",
    Outputs = "has another number of results than one",
    Inputs = "is in a graph that does not take one image alone",
    Padded = "is in a graph in which padding is needed as a value of its own",
    NoProduct = "is in a graph in which no convolution or product could be lowered",
    TooLarge = "is in a graph with maps of more than 2³² elements",
}

impl Serialize for Why {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}
