//! Where to train, as users ask for it.

use crate::Result;
use crate::runtime::ort::try_cuda;
use crate::runtime::provision::{driver_fault, locate};
use crate::runtime::{Device, Lookup};
use clap::ValueEnum;

/// Where to train.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum DeviceChoice {
    /// CUDA where it can be used, else the CPU.
    #[default]
    Auto,
    /// The CPU.
    Cpu,
    /// CUDA, or an error.
    Cuda,
}

impl DeviceChoice {
    /// The device that is meant here; what `auto` passes over is told.
    ///
    /// # Errors
    /// Where CUDA was asked for and cannot be used.
    pub fn device(self, library: &Lookup, note: impl FnOnce(&str)) -> Result<Device> {
        let library = Lookup { cuda: true, ..library.clone() };
        let on_cuda = || try_cuda(&library).map(|()| Device::Cuda);
        match self {
            Self::Cpu => Ok(Device::Cpu),
            Self::Cuda => on_cuda(),
            Self::Auto if driver_fault().is_some() => Ok(Device::Cpu),
            // Looked for first, since nothing as large is fetched unasked.
            Self::Auto => locate(&library).and_then(|_| on_cuda()).or_else(|error| {
                note(&format!("training on the CPU: {:#}", anyhow::Error::from(error)));
                Ok(Device::Cpu)
            }),
        }
    }

    /// Where the graph is for: CUDA only where it was asked for.
    pub fn of_graph(self) -> Device {
        if self == Self::Cuda { Device::Cuda } else { Device::Cpu }
    }
}
