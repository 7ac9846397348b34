//! What a tower learns: names, shapes and roles of its parameters.

use super::plan::{Placed, plan};
use super::recipe::{Layer, Recipe};
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
    Ok(plan(recipe)?.iter().flat_map(of_layer).collect())
}

fn of_layer(p: &Placed) -> Vec<ParamSpec> {
    let name = &p.name;
    match p.layer {
        Layer::Conv { filters, kernel, .. } => product(name, &[filters, p.input[0], kernel, kernel], p.bias),
        Layer::Fc { units } => product(name, &[units, p.input[0]], p.bias),
        Layer::BatchNorm => normalisation(name, p.input[0]),
        Layer::Residual { filters, .. } => residual(name, p.input[0], filters, p.input != p.output),
        _ => Vec::new(),
    }
}

fn residual(name: &str, channels: usize, filters: usize, shortcut: bool) -> Vec<ParamSpec> {
    let mut specs = product(&format!("{name}.conv1"), &[filters, channels, 3, 3], false);
    specs.extend(normalisation(&format!("{name}.bn1"), filters));
    specs.extend(product(&format!("{name}.conv2"), &[filters, filters, 3, 3], false));
    specs.extend(normalisation(&format!("{name}.bn2"), filters));
    if shortcut {
        specs.extend(product(&format!("{name}.conv3"), &[filters, channels, 1, 1], false));
        specs.extend(normalisation(&format!("{name}.bn3"), filters));
    }
    specs
}

/// Weight `[out, in, …]` and, where asked for, bias `[out]`.
fn product(layer: &str, shape: &[usize], bias: bool) -> Vec<ParamSpec> {
    let field: usize = shape[2..].iter().product();
    let (fan_in, fan_out) = (shape[1] * field, shape[0] * field);
    let spec = |part: &str, shape: &[usize], role| ParamSpec {
        name: format!("{layer}.{part}"),
        shape: shape.to_vec(),
        role,
        fan_in,
        fan_out,
    };
    let mut specs = vec![spec("weight", shape, Role::Weight)];
    if bias {
        specs.push(spec("bias", &shape[..1], Role::Bias));
    }
    specs
}

fn normalisation(layer: &str, channels: usize) -> Vec<ParamSpec> {
    [("scale", Role::Scale), ("bias", Role::Shift), ("mean", Role::Mean), ("var", Role::Var)]
        .map(|(part, role)| ParamSpec {
            name: format!("{layer}.{part}"),
            shape: vec![channels],
            role,
            fan_in: channels,
            fan_out: channels,
        })
        .to_vec()
}
