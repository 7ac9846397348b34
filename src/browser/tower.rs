//! A tower that runs by itself.

use crate::edge::kernels::Kernels;
use crate::edge::{self, Program, Scratch};
use crate::image;
use crate::tower::TowerSpec;
use crate::{Error, Result, walk};

/// What messages call it, since it has no file's name.
const AT: &str = "the tower";

/// A lowered tower with the memory of its runs.
pub struct Tower {
    spec: TowerSpec,
    program: Program,
    scratch: Scratch,
}

impl Tower {
    /// Of an ONNX file's bytes.
    ///
    /// # Errors
    /// As [`TowerSpec::from_bytes`]; a tower that cannot be lowered whole: the first node that is left is named.
    pub fn open(bytes: &[u8], kernels: &'static Kernels) -> Result<Self> {
        let (spec, model) = TowerSpec::from_bytes(bytes, AT)?;
        walk::check_size(&model).map_err(|e| e.at(AT))?;
        let how = &spec.preprocessing;
        let size = [how.channels(), how.size(), how.size()];
        let program = edge::program(&model, size, kernels).map_err(|left| {
            let first = left.first().map_or(String::new(), |refusal| format!(": {refusal}"));
            let why = format!(
                "a part of it cannot be lowered{first}; only towers that are lowered whole run in a browser \
                 (`siamese inspect` tells which are)"
            );
            Error::invalid(AT, why)
        })?;
        if program.output_size(0) != spec.dim {
            let why = format!("gives {} numbers, and its file tells of {}", program.output_size(0), spec.dim);
            return Err(Error::invalid(AT, why));
        }
        let scratch = program.scratch();
        Ok(Self { spec, program, scratch })
    }

    /// Its facts.
    pub fn spec(&self) -> &TowerSpec {
        &self.spec
    }

    /// Its input `uint8 [C, S, S]` of pixels, red, green, blue, opacity.
    ///
    /// # Errors
    /// As [`image::from_rgba`].
    pub fn see(&self, width: u32, height: u32, rgba: &[u8]) -> Result<Vec<u8>> {
        let input = image::from_rgba(width, height, rgba, &self.spec.preprocessing)?;
        Ok(input.into_raw_vec_and_offset().0)
    }

    /// The embedding `[D]` of an input `[C, S, S]`.
    ///
    /// # Errors
    /// An input of another size.
    pub fn embed(&mut self, input: &[u8]) -> Result<Vec<f32>> {
        let how = &self.spec.preprocessing;
        let needs = how.channels() * how.size() * how.size();
        if input.len() != needs {
            let why = format!("has {} numbers; the tower takes {needs}", input.len());
            return Err(Error::invalid("the tower's input", why));
        }
        self.program.run(&mut self.scratch, input);
        let mut embedding = vec![0.0; self.spec.dim];
        self.program.output(&self.scratch, 0, 0, &mut embedding);
        Ok(embedding)
    }
}
