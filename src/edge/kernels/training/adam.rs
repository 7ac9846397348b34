//! Adam's step of one parameter (Kingma, Ba 2015) in one pass over memory, with decoupled decay (Loshchilov, Hutter
//! 2019) and a moving average.

/// The numbers that all elements share.
#[derive(Clone, Copy, Debug)]
pub struct AdamStep {
    /// `M ← β₁·M + g`.
    pub beta1: f32,
    /// `V ← β₂·V + g²`.
    pub beta2: f32,
    /// The step is `rate·M/(√V + epsilon)`.
    pub rate: f32,
    /// See there.
    pub epsilon: f32,
    /// What is left of the parameter, 1 without decay.
    pub kept: f32,
    /// The share of the new parameter in its moving average.
    pub share: f32,
}

/// What the step reads and writes, of one length.
#[derive(Debug)]
pub struct AdamTensors<'a> {
    /// Parameter, gradient, M and V.
    pub old: [&'a [f32]; 4],
    /// Parameter, M and V.
    pub new: [&'a mut [f32]; 3],
    /// The moving average, before and after.
    pub average: Option<(&'a [f32], &'a mut [f32])>,
}

passes! {
    /// Adam's step of some elements.
    ///
    /// # Panics
    /// If the tensors have different lengths.
    pub fn adam_step[](how: AdamStep, tensors: &mut AdamTensors<'_>) = step;
}

#[inline(always)]
fn step(how: AdamStep, tensors: &mut AdamTensors<'_>) {
    let [param, grad, m, v] = tensors.old;
    let count = param.len();
    let [next, next_m, next_v] = &mut tensors.new;
    let (grad, m, v) = (&grad[..count], &m[..count], &v[..count]);
    let (next, next_m, next_v) = (&mut next[..count], &mut next_m[..count], &mut next_v[..count]);
    for i in 0..count {
        let m = m[i] * how.beta1 + grad[i];
        let v = v[i] * how.beta2 + grad[i] * grad[i];
        next_m[i] = m;
        next_v[i] = v;
        next[i] = param[i] * how.kept - m / (v.sqrt() + how.epsilon) * how.rate;
    }
    if let Some((average, moved)) = &mut tensors.average {
        let (average, moved) = (&average[..count], &mut moved[..count]);
        for i in 0..count {
            moved[i] = average[i] + (next[i] - average[i]) * how.share;
        }
    }
}
