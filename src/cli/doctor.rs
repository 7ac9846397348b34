//! `siamese doctor [TOWER]`: one page on what is here and what is missing.

use super::output::show;
use super::{Context, Outcome};
use crate::runtime::RUNTIMES;
use crate::runtime::doctor::{self, Report, TowerReport};
use crate::{Error, Result};
use clap::Args;
use std::path::PathBuf;

/// Arguments of `doctor`.
#[derive(Debug, Args)]
pub struct Arguments {
    /// A tower to check on every runtime: a file, or a shipped one's name.
    tower: Option<PathBuf>,
}

/// Runs the verb.
pub fn run(context: &Context, arguments: &Arguments) -> Result<Outcome> {
    let report = doctor::examine(&context.library(false), arguments.tower.as_deref())?;
    show(context, &report, text)?;
    match report.missing.as_slice() {
        [] => Ok(Outcome::Yes),
        [one] => Err(Error::missing("one thing is missing", one)),
        several => {
            let what = format!("{} things are missing", several.len());
            Err(Error::missing(what, several.join("; ")))
        }
    }
}

/// The page.
fn text(report: &Report) -> String {
    let machine = &report.machine;
    let mut text = format!("siamese {}\n", report.siamese);
    let processor = machine.processor.as_deref().unwrap_or("processor");
    text += &format!(
        "  machine     {} {}, {processor}, {} cores\n",
        machine.system, machine.architecture, machine.cores
    );
    text += &format!("  features    {}\n", machine.features.join(" "));
    #[cfg(feature = "lowered")]
    {
        let doctor::Kernels { in_use, available } = &report.kernels;
        let (has, variable) = (available.join(", "), crate::edge::VARIABLE);
        text += &format!("  kernels     {in_use} (this processor has {has}; {variable} chooses)\n");
    }
    for cache in &report.caches {
        let state = if cache.writable { "" } else { ", CANNOT BE WRITTEN" };
        let size = cache.bytes as f64 / 1e6;
        text += &format!("  cache       {} ({}, {size:.1} MB{state})\n", cache.path, cache.keeps);
    }
    #[cfg(feature = "ort")]
    {
        text += &super::runtime::status_text(&report.onnx_runtime);
    }
    for runtime in RUNTIMES.into_iter().filter(|runtime| !runtime.library) {
        text += &match runtime.version() {
            Some(version) => format!("{runtime} {version}\n"),
            None => format!("{runtime} is not built in\n"),
        };
    }
    if let Some(tower) = &report.tower {
        text += &tower_text(tower);
    }
    if report.missing.is_empty() {
        text += "everything needed is here\n";
    }
    text
}

fn tower_text(tower: &TowerReport) -> String {
    let spec = &tower.spec;
    let (channels, side) = (spec.preprocessing.channels(), spec.preprocessing.size());
    let mut text = format!("{}\n", crate::error::shown(&tower.path));
    text += &format!("  tower       {}, {}, {}\n", spec.name, spec.kind.name(), tower.versions);
    text += &format!(
        "  shape       uint8 [N, {channels}, {side}, {side}] → float32 [N, {}], {} distance\n",
        spec.dim,
        spec.distance.name()
    );
    text += &format!("  file        {} bytes, SHA-256 {}\n", tower.bytes, spec.sha256);
    let operators = tower.operators.iter().map(|o| match o.domain.as_str() {
        "" => format!("{} ×{}", o.name, o.nodes),
        domain => format!("{domain}:{} ×{}", o.name, o.nodes),
    });
    text += &format!("  operators   {}\n", operators.collect::<Vec<_>>().join(", "));
    for load in &tower.loads {
        let name = load.runtime.name;
        match (&load.fault, load.first_result_ms) {
            (Some(fault), _) => text += &format!("  {name:<11} CANNOT RUN IT: {fault}\n"),
            (None, ms) => {
                text += &format!("  {name:<11} runs it, first result after {:.0} ms\n", ms.unwrap_or(0.0));
            }
        }
    }
    text
}
