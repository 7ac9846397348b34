//! What a tower learns: names, shapes and roles of its parameters.

use super::Recipe;
use super::plan::{Kind, Part, Product, plan};
use crate::Result;

/// One parameter (or running statistic) of a tower.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ParamSpec {
    /// `conv1.weight`, `fc2.bias`, `bn1.scale`, `block1.conv2.weight`, ….
    pub name: String,
    /// Convolutions `[F, C, k, k]`, fully connected layers `[out, in]`, everything else `[C]`.
    pub shape: Vec<usize>,
    /// What it does.
    pub role: Role,
    /// Inputs of one output: C·k·k or in.
    pub fan_in: usize,
    /// Outputs that one input reaches: F·k·k or out.
    pub fan_out: usize,
}

/// What a parameter does; says how it starts and whether weight decay touches it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// Multiplies activations; initialised at random, decayed.
    Weight,
    /// Added to them; starts at the recipe's `bias_init`.
    Bias,
    /// γ of a batch normalisation; starts at 1.
    Scale,
    /// β of a batch normalisation; starts at 0.
    Shift,
    /// Running mean; a statistic, not learned; starts at 0.
    Mean,
    /// Running variance; a statistic, not learned; starts at 1.
    Var,
}

impl Role {
    /// Whether it is a running statistic and not learned by descent.
    pub fn is_statistic(self) -> bool {
        matches!(self, Self::Mean | Self::Var)
    }
}

impl ParamSpec {
    /// The layer: everything before the last dot.
    pub fn layer(&self) -> &str {
        self.name.rsplit_once('.').map_or(self.name.as_str(), |(layer, _)| layer)
    }
}

/// The parameters of the recipe's tower in the order of its layers.
///
/// # Errors
/// Layers whose shapes do not fit; the message names the layer and both shapes.
pub fn param_specs(recipe: &Recipe) -> Result<Vec<ParamSpec>> {
    match recipe.backbone()? {
        Some((how, backbone)) => backbone.specs(how),
        None => Ok(plan(recipe)?.iter().flat_map(of_part).collect()),
    }
}

/// D of the tower's embedding `[N, D]`.
///
/// # Errors
/// As [`param_specs`].
pub fn embedding_dim(recipe: &Recipe) -> Result<usize> {
    match recipe.backbone()? {
        Some((_, backbone)) => Ok(backbone.dim()),
        None => Ok(plan(recipe)?.last().map_or(0, |part| part.output[0])),
    }
}

fn of_part(part: &Part) -> Vec<ParamSpec> {
    match &part.kind {
        Kind::Product(product) => of_product(&part.name, product),
        Kind::BatchNorm => of_normalisation(&part.name, part.output[0]),
        Kind::Image
        | Kind::Relu
        | Kind::Sigmoid
        | Kind::Relu6
        | Kind::HardSwish
        | Kind::Silu
        | Kind::Means
        | Kind::Scale
        | Kind::MaxPool(_)
        | Kind::AveragePool(_)
        | Kind::GlobalAveragePool
        | Kind::Flatten
        | Kind::Dropout(_)
        | Kind::Add
        | Kind::L2Norm => Vec::new(),
    }
}

fn of_product(name: &str, Product { weight, bias, .. }: &Product) -> Vec<ParamSpec> {
    let field: usize = weight[2..].iter().product();
    let spec = |part: &str, shape: &[usize], role| ParamSpec {
        name: format!("{name}.{part}"),
        shape: shape.to_vec(),
        role,
        fan_in: weight[1] * field,
        fan_out: weight[0] * field,
    };
    let bias = bias.then(|| spec("bias", &weight[..1], Role::Bias));
    std::iter::once(spec("weight", weight, Role::Weight)).chain(bias).collect()
}

fn of_normalisation(name: &str, channels: usize) -> Vec<ParamSpec> {
    [("scale", Role::Scale), ("bias", Role::Shift), ("mean", Role::Mean), ("var", Role::Var)]
        .map(|(part, role)| ParamSpec {
            name: format!("{name}.{part}"),
            shape: vec![channels],
            role,
            fan_in: channels,
            fan_out: channels,
        })
        .to_vec()
}
