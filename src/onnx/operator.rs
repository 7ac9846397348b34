//! The operators of the standard domain that some room of this crate knows.
//!
//! A type and not a text, so that each room that asks what an operator means must answer for all of them.

macro_rules! operators {
    ($($operator:ident = $name:literal,)*) => {
        /// An operator of the standard domain.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
        #[allow(missing_docs)] // Their names are the standard's.
        pub enum Operator {
            $($operator,)*
        }

        impl Operator {
            /// All of them, sorted by name.
            pub const ALL: &[Self] = &[$(Self::$operator,)*];

            /// The name in a file: `Conv`.
            pub fn name(self) -> &'static str {
                match self {
                    $(Self::$operator => $name,)*
                }
            }

            /// The operator of this name.
            pub fn named(name: &str) -> Option<Self> {
                match name {
                    $($name => Some(Self::$operator),)*
                    _ => None,
                }
            }
        }
    };
}

operators! {
    Abs = "Abs",
    Add = "Add",
    And = "And",
    ArgMax = "ArgMax",
    ArgMin = "ArgMin",
    AveragePool = "AveragePool",
    BatchNormalization = "BatchNormalization",
    Cast = "Cast",
    Ceil = "Ceil",
    Clip = "Clip",
    Concat = "Concat",
    Constant = "Constant",
    ConstantOfShape = "ConstantOfShape",
    Conv = "Conv",
    ConvTranspose = "ConvTranspose",
    Cos = "Cos",
    CumSum = "CumSum",
    DepthToSpace = "DepthToSpace",
    Div = "Div",
    Dropout = "Dropout",
    Einsum = "Einsum",
    Elu = "Elu",
    Equal = "Equal",
    Erf = "Erf",
    Exp = "Exp",
    Expand = "Expand",
    Flatten = "Flatten",
    Floor = "Floor",
    Gather = "Gather",
    GatherElements = "GatherElements",
    GatherNd = "GatherND",
    Gelu = "Gelu",
    Gemm = "Gemm",
    GlobalAveragePool = "GlobalAveragePool",
    GlobalMaxPool = "GlobalMaxPool",
    Greater = "Greater",
    GreaterOrEqual = "GreaterOrEqual",
    GroupNormalization = "GroupNormalization",
    HardSigmoid = "HardSigmoid",
    HardSwish = "HardSwish",
    Identity = "Identity",
    InstanceNormalization = "InstanceNormalization",
    LayerNormalization = "LayerNormalization",
    LeakyRelu = "LeakyRelu",
    Less = "Less",
    LessOrEqual = "LessOrEqual",
    Log = "Log",
    LogSoftmax = "LogSoftmax",
    LpNormalization = "LpNormalization",
    Lrn = "LRN",
    MatMul = "MatMul",
    Max = "Max",
    MaxPool = "MaxPool",
    Mean = "Mean",
    Min = "Min",
    Mish = "Mish",
    Mod = "Mod",
    Mul = "Mul",
    Neg = "Neg",
    Not = "Not",
    OneHot = "OneHot",
    Or = "Or",
    PRelu = "PRelu",
    Pad = "Pad",
    Pow = "Pow",
    Range = "Range",
    Reciprocal = "Reciprocal",
    ReduceL1 = "ReduceL1",
    ReduceL2 = "ReduceL2",
    ReduceLogSumExp = "ReduceLogSumExp",
    ReduceMax = "ReduceMax",
    ReduceMean = "ReduceMean",
    ReduceMin = "ReduceMin",
    ReduceProd = "ReduceProd",
    ReduceSum = "ReduceSum",
    ReduceSumSquare = "ReduceSumSquare",
    Relu = "Relu",
    Reshape = "Reshape",
    Resize = "Resize",
    Round = "Round",
    ScatterNd = "ScatterND",
    Selu = "Selu",
    Shape = "Shape",
    Sigmoid = "Sigmoid",
    Sign = "Sign",
    Sin = "Sin",
    Size = "Size",
    Slice = "Slice",
    Softmax = "Softmax",
    Softplus = "Softplus",
    Softsign = "Softsign",
    SpaceToDepth = "SpaceToDepth",
    Split = "Split",
    Sqrt = "Sqrt",
    Squeeze = "Squeeze",
    Sub = "Sub",
    Sum = "Sum",
    Tanh = "Tanh",
    Tile = "Tile",
    TopK = "TopK",
    Transpose = "Transpose",
    Trilu = "Trilu",
    Unsqueeze = "Unsqueeze",
    Where = "Where",
}

impl std::fmt::Display for Operator {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.name())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_lead_back_to_their_operators() {
        assert!(Operator::ALL.iter().all(|op| Operator::named(op.name()) == Some(*op)));
        assert_eq!(Operator::named("NoSuchOperator"), None);
    }
}
