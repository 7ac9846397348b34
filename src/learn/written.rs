//! The towers that are written in the end.

use super::Task;
use super::begin::Begun;
use super::material::Material;
use super::ways::{Lesson, Way};
use crate::adopt::{self, Exactly, FloatTower, Proving};
use crate::export::{self, ImportOptions, project};
use crate::image::Triage;
use crate::runtime::Runtime;
use crate::tower::{TowerKind, exact_sibling};
use crate::{Result, files};
use std::path::{Path, PathBuf};

/// The most pictures by which the scales of a tuned tower's exact form are chosen, and others that it is compared on.
const CALIBRATED: usize = 256;
const COMPARED: usize = 200;

/// Writes the towers, the float one and the exact one where there is one beside it.
pub(super) fn towers(
    task: &Task<'_>,
    begun: &Begun,
    tuned: Option<&Material>,
    way: Option<Way>,
) -> Result<Vec<PathBuf>> {
    let members = &begun.data.by_class();
    let mut towers = vec![write(tuned.unwrap_or(&begun.material), way, members, task.out)?];
    let Some(sibling) = exact_sibling(&begun.tower) else { return Ok(towers) };
    towers.push(match tuned {
        Some(_) => recalibrated(task, &towers[0])?,
        None => write(&Material::of(&sibling, task.runner, &begun.data)?, way, members, task.out)?,
    });
    Ok(towers)
}

/// The exact tower of a float one whose layers are others than those of any exact one.
fn recalibrated(task: &Task<'_>, float: &Path) -> Result<PathBuf> {
    let runners = Runtime::built_in().filter_map(|r| r.with(task.runner.options().clone()).ok()).collect();
    let proving = Proving { runners, progress: &|_| () };
    let triage = &Triage::lenient(drop);
    let (calibrate, compare) = (CALIBRATED, COMPARED);
    let how = Exactly { pictures: task.pictures, calibrate, compare, triage, proving: &proving };
    let float = FloatTower::read(float, &ImportOptions::default(), &proving)?;
    Ok(adopt::exact(&float, &task.out.join(name(TowerKind::Exact)), &how)?.file)
}

/// What a tower's file is called.
fn name(kind: TowerKind) -> &'static str {
    match kind {
        TowerKind::Exact => "tower.exact.onnx",
        TowerKind::Float => "tower.onnx",
    }
}

/// Writes the tower with what was learned of all pictures.
fn write(material: &Material, way: Option<Way>, members: &[Vec<usize>], out: &Path) -> Result<PathBuf> {
    let file = out.join(name(material.spec.kind));
    let learned = way.and_then(|way| Some((way.learn(material, &Lesson::of(members))?, way.rows(material)?)));
    let Some((map, rows)) = learned else {
        files::replace(&file, &material.bytes)?;
        return Ok(file);
    };
    let largest = map.apply(rows.view()).iter().fold(0.0, |m: f64, x| m.max(f64::from(x.abs())));
    export::save(&project(&material.model, &material.spec, &map, largest)?, &file)?;
    Ok(file)
}
