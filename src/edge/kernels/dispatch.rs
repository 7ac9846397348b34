//! How the rows of `sets!` become code: the levels, what this CPU can run, and every element-wise pass
//! compiled for each level.

/// The level of each set's passes, and the sets that this CPU can run.
macro_rules! levels {
    ([] $({ $module:ident ($cfg:meta) $($level:ident $features:literal)? })*) => {
        /// What element-wise passes are compiled for.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        enum Level {
            Portable,
            $($(#[cfg($cfg)] $level,)?)*
        }

        impl Kernels {
            /// All that this CPU can run, the fastest first, the portable ones last.
            pub fn all() -> Vec<&'static Self> {
                let mut all = Vec::new();
                $(#[cfg($cfg)] all.extend($module::available());)*
                all.push(&portable::KERNELS);
                all
            }
        }
    };
}

/// Defines methods of [`super::Kernels`] that call a generic body, inlined into a function of the CPU
/// features of each level, so that the compiler vectorises it with what that CPU has.
macro_rules! passes {
    ($(
        $(#[$doc:meta])*
        pub fn $name:ident[$($generics:tt)*]($($argument:ident: $type:ty),* $(,)?) = $body:ident;
    )*) => {
        impl super::Kernels {
            $(
                $(#[$doc])*
                #[cfg_attr(target_family = "wasm", optimize(speed))]
                pub fn $name<$($generics)*>(&self, $($argument: $type),*) {
                    super::sets!(at_level self.level, $body [$($generics)*]
                        ($($argument: $type),*) ($($argument),*));
                }
            )*
        }
    };
}

/// Calls a body compiled for a level.
macro_rules! at_level {
    (
        [$level:expr, $body:ident $generics:tt $parameters:tt $arguments:tt]
        $({ $module:ident ($cfg:meta) $($variant:ident $features:literal)? })*
    ) => {
        match $level {
            super::Level::Portable => $body $arguments,
            $($(
                #[cfg($cfg)]
                super::Level::$variant => with_features!($features $body $generics $parameters $arguments),
            )?)*
        }
    };
}

#[allow(unused_macros)] // Where there is no set but the portable one.
macro_rules! with_features {
    ($features:literal $body:ident [$($generics:tt)*] $parameters:tt $arguments:tt) => {{
        #[target_feature(enable = $features)]
        fn with_features<$($generics)*> $parameters {
            $body $arguments
        }
        // SAFETY: the kernels were chosen for this CPU, which has the features of their level.
        unsafe { with_features $arguments }
    }};
}
