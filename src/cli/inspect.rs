//! `siamese inspect MODEL`: what is in a model file, and the proof of an exact tower again.

use super::output::show;
use super::{Context, Outcome};
use crate::Result;
use crate::exactness::LIMIT;
use crate::export::{self, Inspection, Port, TowerFacts};
use clap::Args;
use serde::Serialize;
use std::collections::BTreeMap;
use std::path::PathBuf;

/// Arguments of `inspect`.
#[derive(Debug, Args)]
pub struct Arguments {
    /// The ONNX file: a tower, a training step, or any other model.
    model: PathBuf,
    /// List where every node would run, not only those that CUDA cannot.
    #[arg(long)]
    nodes: bool,
    /// List every value inside with its type and shape: what `import --output` can choose.
    #[arg(long)]
    values: bool,
}

/// Characters of a metadata value that are shown.
const SHOWN: usize = 60;

/// Runs the verb.
pub(super) fn run(context: &Context, arguments: &Arguments) -> Result<Outcome> {
    let model = export::inspect(&arguments.model, arguments.values)?;
    let report = Report {
        #[cfg(feature = "lowered")]
        lowering: crate::edge::coverage(&model.model),
        model,
    };
    show(context, &report, |report| text(report, arguments.nodes))?;
    Ok(Outcome::Yes)
}

/// What is told of a model.
#[derive(Serialize)]
struct Report {
    #[serde(flatten)]
    model: Inspection,
    /// What of it runs as one program on tract.
    #[cfg(feature = "lowered")]
    lowering: Option<crate::edge::Coverage>,
}

fn text(report: &Report, nodes: bool) -> String {
    let i = &report.model;
    let opsets: Vec<String> = i.opsets.iter().map(|(d, v)| format!("{d} {v}").trim().to_string()).collect();
    let mut lines = vec![
        i.file.clone(),
        format!("  file        {} bytes, SHA-256 {}", i.bytes, i.sha256),
        format!(
            "  format      IR {}, opset {}, written by {}",
            i.ir_version,
            opsets.join(", "),
            or_dash(&i.producer)
        ),
    ];
    lines.extend(i.inputs.iter().map(|p| format!("  input       {}", port(p))));
    lines.extend(i.outputs.iter().map(|p| format!("  output      {}", port(p))));
    let operators: Vec<String> = i.operators.iter().map(|(op, n)| format!("{op} {n}")).collect();
    lines.push(format!("  nodes       {}: {}", i.operators.values().sum::<usize>(), operators.join(", ")));
    lines.push(format!("  parameters  {}", i.parameters));
    let work = i.mflop.map_or("unknown: the file lacks shapes".into(), |m| format!("{m:.2} MFLOP an image"));
    lines.push(format!("  arithmetic  {work}"));
    match &i.tower {
        Some(tower) => lines.extend(tower_lines(tower)),
        None => {
            lines.push("  tower       no: it has no siamese.* metadata (`siamese import` adds them)".into())
        }
    }
    lines.extend(i.values.iter().map(|p| format!("  value       {}", port(p))));
    lines.extend(metadata(&i.metadata));
    lines.extend(placement(i, nodes));
    #[cfg(feature = "lowered")]
    lines.extend(report.lowering.iter().flat_map(|coverage| lowering(coverage, nodes)));
    lines.join("\n") + "\n"
}

fn or_dash(text: &str) -> &str {
    if text.is_empty() { "–" } else { text }
}

fn port(p: &Port) -> String {
    format!("{} {} {}", p.name, p.dtype, p.shape)
}

fn tower_lines(t: &TowerFacts) -> Vec<String> {
    let distance = t.spec.distance.name();
    let mut lines = vec![format!(
        "  tower       {}, {}, D = {}, distance {distance}",
        t.spec.name,
        t.spec.kind.name(),
        t.spec.dim
    )];
    lines.extend(t.provenance.source.iter().map(|s| format!("  made from   {s}")));
    lines.extend(t.provenance.licence.iter().map(|l| format!("  licence     {l}")));
    if let Some(batch) = t.spec.batch {
        lines.push(format!("  batch       {batch}: runtimes run it picture by picture"));
    }
    let older = t.spec.compatible_with.iter();
    lines.extend(
        older.map(|old| format!("  compatible  answers from galleries of the tower of SHA-256 {old}")),
    );
    if !t.provenance.proven.is_empty() {
        let names = t.provenance.proven.join(", ");
        lines.push(format!("  proven      gives the model's own embeddings on {names}"));
    }
    lines.extend(t.provenance.data.iter().map(|d| format!("  trained on  {d}")));
    for a in &t.provenance.accuracy {
        let interval = a
            .interval_95
            .map_or(String::new(), |[low, high]| format!(" (95 %: {:.2}–{:.2})", 100.0 * low, 100.0 * high));
        lines.push(format!(
            "  accuracy    {:.2} %{interval}: {}, {}",
            100.0 * a.accuracy,
            a.protocol,
            a.data
        ));
    }
    if !t.proven.is_empty() {
        let limit = LIMIT.log2();
        lines.push(format!(
            "  exact       proven: every sum is below 2^{limit}, so no runtime can change a bit"
        ));
        let width = t.proven.iter().map(|b| b.node.len()).max().unwrap_or(0);
        lines.extend(t.proven.iter().map(|b| {
            format!(
                "    {:width$}  2^{:<5.2}  {} steps, channel {}",
                b.node,
                b.bound.log2(),
                b.bound,
                b.channel
            )
        }));
    }
    lines
}

fn metadata(entries: &BTreeMap<String, String>) -> Vec<String> {
    let each = entries.iter().map(|(key, value)| {
        let length = value.chars().count();
        let shown: String = value.chars().take(SHOWN).map(|c| if c.is_control() { ' ' } else { c }).collect();
        let rest = if length > SHOWN { format!("… ({length} characters)") } else { String::new() };
        format!("  metadata    {key} = {shown}{rest}")
    });
    each.collect()
}

fn placement(i: &Inspection, nodes: bool) -> Vec<String> {
    let cuda = i.placement.iter().filter(|p| p.provider == "CUDA").count();
    let mut lines = vec![format!(
        "  placement   with CUDA: {cuda} of {} nodes on CUDA, {} on the CPU; without: all on the CPU",
        i.placement.len(),
        i.placement.len() - cuda
    )];
    for p in i.placement.iter().filter(|p| nodes || p.provider == "CPU") {
        let why = p.why.as_ref().map_or(String::new(), |w| format!(": it {w}"));
        lines.push(format!("    {:4}  {} ({}){why}", p.provider, p.node, p.op));
    }
    lines
}

/// How many nodes are lowered, and of each reason against it how often it holds and for which node first.
#[cfg(feature = "lowered")]
fn lowering(coverage: &crate::edge::Coverage, nodes: bool) -> Vec<String> {
    let (lowered, left) = (coverage.lowered.len(), &coverage.left);
    let share = match left.len() {
        0 => format!("all {lowered} nodes in one program"),
        apart => format!("{lowered} of {} nodes in one program, {apart} apart", lowered + apart),
    };
    let mut lines = vec![format!("  lowering    on tract: {share}")];
    if nodes {
        lines.extend(left.iter().map(|refusal| format!("    {refusal}")));
        return lines;
    }
    let mut reasons: Vec<(&crate::edge::Refusal, usize)> = Vec::new();
    for refusal in left {
        match reasons.iter_mut().find(|(first, _)| first.why == refusal.why) {
            Some((_, count)) => *count += 1,
            None => reasons.push((refusal, 1)),
        }
    }
    let more = |count: usize| if count == 1 { String::new() } else { format!(", and {} more", count - 1) };
    lines.extend(reasons.iter().map(|(first, count)| format!("    {first}{}", more(*count))));
    lines
}
