//! A row of the table of runtimes, and how one is found.

use super::runner::{Backend, Runner};
use super::{Device, OptLevel, Options, PREFERRED, RUNTIMES};
use crate::{Error, Result};
use clap::ValueEnum;
use clap::builder::PossibleValue;
use serde::{Serialize, Serializer};
use std::fmt;

/// What is known of a runtime before it does anything. Two are equal where their names are.
pub struct Runtime {
    /// As users type it and results tell it; the feature that builds it in is called the same.
    pub name: &'static str,
    /// What messages call it.
    pub title: &'static str,
    /// For the list of choices.
    pub about: &'static str,
    /// Where it can compute.
    pub devices: &'static [Device],
    /// How far it can rewrite graphs; empty where that cannot be chosen.
    pub levels: &'static [OptLevel],
    /// Whether it is a library outside this program, which is found and loaded when it is first needed.
    pub library: bool,
    /// What it does, where it is built in.
    pub backend: Option<&'static dyn Backend>,
}

impl Runtime {
    /// The runtime of this name.
    pub fn named(name: &str) -> Option<&'static Self> {
        RUNTIMES.into_iter().find(|runtime| runtime.name == name)
    }

    /// The runtimes of this build.
    pub fn built_in() -> impl Iterator<Item = &'static Self> {
        RUNTIMES.into_iter().filter(|runtime| runtime.backend.is_some())
    }

    /// The runtime that is used unless told otherwise.
    pub fn preferred() -> &'static Self {
        match PREFERRED.backend {
            Some(_) => PREFERRED,
            None => Self::built_in().next().unwrap_or(PREFERRED),
        }
    }

    /// The version of what is built in; none where it is not.
    pub fn version(&self) -> Option<&'static str> {
        self.backend.map(|backend| backend.version())
    }

    /// The runtime with these options.
    ///
    /// # Errors
    /// [`Error::Missing`] (exit 3) where this build does not have it; an option that it does not take.
    pub fn with(&'static self, options: Options) -> Result<Runner> {
        let backend = self.backend.ok_or_else(|| {
            let others: Vec<&str> = Self::built_in().map(|other| other.name).collect();
            let other = if others.is_empty() { String::new() } else { format!(", or name {}", any(&others)) };
            let fix = format!("build it with `--features {}`{other}", self.name);
            Error::missing(format!("this build of siamese has no {}", self.title), fix)
        })?;
        if let Some(level) = options.level.filter(|level| !self.levels.contains(level)) {
            let known: Vec<&str> = self.levels.iter().map(|level| level.name()).collect();
            let why = match known.as_slice() {
                [] => format!("{} has no optimisation levels", self.title),
                known => format!("{} takes {}, not {}", self.title, any(known), level.name()),
            };
            return Err(Error::invalid("runtime setting level", why));
        }
        if !self.devices.contains(&options.device) {
            let why = format!("{} does not compute on {:?}", self.title, options.device);
            return Err(Error::invalid("runtime setting device", why));
        }
        Ok(Runner { runtime: self, backend, options })
    }

    /// Its name on a device: `ort`, `ort-cuda`.
    pub fn on(&self, device: Device) -> String {
        match device {
            Device::Cpu => self.name.into(),
            Device::Cuda => format!("{}-cuda", self.name),
        }
    }

    /// Reads `ort`, `ort-cuda`, `ort:threads=1,level=basic`.
    ///
    /// # Errors
    /// No such runtime, or setting; the message lists those that are known.
    pub fn parse(typed: &str) -> Result<(&'static Self, Options)> {
        let (name, settings) = typed.split_once(':').unwrap_or((typed, ""));
        let options = Options::parse(settings)?;
        let found = choices().find(|(runtime, device)| runtime.on(*device) == name);
        let (runtime, device) = found.ok_or_else(|| {
            Error::invalid(format!("runtime {name:?}"), format!("known are {}", Self::spellings()))
        })?;
        Ok((runtime, Options { device, ..options }))
    }

    /// What [`Runtime::parse`] reads: `ort, ort-cuda or tract`.
    pub fn spellings() -> String {
        let names: Vec<String> = choices().map(|(runtime, device)| runtime.on(device)).collect();
        any(&names.iter().map(String::as_str).collect::<Vec<_>>())
    }
}

/// Every runtime on each of its devices.
fn choices() -> impl Iterator<Item = (&'static Runtime, Device)> {
    RUNTIMES.into_iter().flat_map(|runtime| runtime.devices.iter().map(move |&device| (runtime, device)))
}

/// `a, b or c`.
fn any(names: &[&str]) -> String {
    match names {
        [] => String::new(),
        [one] => (*one).into(),
        [rest @ .., last] => format!("{} or {last}", rest.join(", ")),
    }
}

impl fmt::Debug for Runtime {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name)
    }
}

impl fmt::Display for Runtime {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name)
    }
}

impl PartialEq for Runtime {
    fn eq(&self, other: &Self) -> bool {
        self.name == other.name
    }
}

impl Eq for Runtime {}

impl Serialize for Runtime {
    fn serialize<S: Serializer>(&self, serializer: S) -> std::result::Result<S::Ok, S::Error> {
        serializer.serialize_str(self.name)
    }
}

impl ValueEnum for &'static Runtime {
    fn value_variants<'a>() -> &'a [Self] {
        &RUNTIMES
    }

    fn to_possible_value(&self) -> Option<PossibleValue> {
        Some(PossibleValue::new(self.name).help(self.about))
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn names_devices_and_settings_are_read() {
        for runtime in RUNTIMES {
            let (found, options) = Runtime::parse(&format!("{runtime}:threads=3")).unwrap();
            assert_eq!((found, options), (runtime, Options { threads: 3, ..Options::default() }));
            for &device in runtime.devices {
                assert_eq!(Runtime::parse(&runtime.on(device)).unwrap().1.device, device);
            }
            assert!(Runtime::spellings().contains(runtime.name));
        }
        for wrong in ["nothing", "tract-cuda", "ort:speed=9"] {
            assert!(Runtime::parse(wrong).unwrap_err().to_string().contains("known are"), "{wrong}");
        }
    }

    #[test]
    fn what_a_runtime_does_not_take_or_is_not_built_in_is_refused() {
        for runtime in RUNTIMES {
            let Some(_) = runtime.backend else {
                let error = runtime.with(Options::default()).unwrap_err();
                assert_eq!(error.exit_code(), 3);
                assert!(error.to_string().contains(&format!("--features {runtime}")), "{error}");
                continue;
            };
            for level in OptLevel::EVERY {
                let asked = runtime.with(Options { level: Some(level), ..Options::default() });
                assert_eq!(asked.is_ok(), runtime.levels.contains(&level), "{runtime} {level:?}");
            }
            let cuda = runtime.with(Options { device: Device::Cuda, ..Options::default() });
            assert_eq!(cuda.is_ok(), runtime.devices.contains(&Device::Cuda), "{runtime}");
        }
    }
}
