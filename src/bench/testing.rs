//! A benchmark as if it had been measured.

use super::*;
use crate::tower::TowerKind;

fn about(median: f64) -> Option<Spread> {
    Some(Spread { median, least: median * 0.99, greatest: median * 1.01 })
}

fn row(runtime: &str, tower: TowerKind, threads: usize, batch: usize, us: f64, start_ms: f64) -> Measurement {
    let call = us * batch as f64 / threads as f64;
    let latency = Latency {
        least_us: call * 0.9,
        p50_us: call,
        p90_us: call,
        p95_us: call,
        p99_us: call * 2.0,
        calls: 99,
    };
    Measurement {
        what: Configuration { runtime: runtime.into(), tower, threads, batch },
        latency: Some(latency),
        withheld: None,
        call_us: about(call),
        fastest_us: about(call * 0.9),
        images_per_second: about(1e6 * batch as f64 / call),
        executed: (runtime == "tract").then_some(Executed { gops: 70.0, peak_share: 0.625 }),
        ratio: about(us / 100.0),
        fastest_ratio: about(us / 100.0),
        cores_used: about(threads as f64 * 0.98),
        cold_start_ms: about(start_ms + 6.0),
        load_ms: about(start_ms),
        first_run_ms: about(1.0),
        peak_rss_bytes: about(2e7),
    }
}

/// Two runtimes, two towers, one and two threads, one and 64 images; the last is withheld.
pub fn benchmark() -> Benchmark {
    let mut rows = Vec::new();
    for (threads, batch) in [(1, 1), (1, 64), (2, 64)] {
        rows.push(row("ort", TowerKind::Float, threads, batch, 100.0, 50.0));
        rows.push(row("tract", TowerKind::Float, threads, batch, 110.0, 5.0));
        rows.push(row("tract", TowerKind::Exact, threads, batch, 40.0, 4.0));
    }
    if let Some(last) = rows.last_mut() {
        last.withheld = Some("told to use 2 threads, it used 2.90 cores".into());
        (last.latency, last.call_us, last.fastest_us, last.images_per_second) = (None, None, None, None);
        (last.ratio, last.fastest_ratio, last.executed) = (None, None, None);
    }
    let tower = |kind: TowerKind, bytes| TowerFile {
        name: "small".into(),
        kind,
        file: format!("{}.onnx", kind.name()).into(),
        bytes,
        sha256: "00".into(),
        size: 28,
        mflop: Some(19.5),
    };
    Benchmark {
        format: FORMAT,
        siamese: "0.1.0".into(),
        machine: MachineFacts {
            processor: "a processor".into(),
            cores: 2,
            system: "linux x86_64".into(),
            kernels: "portable".into(),
        },
        method: Method { rounds: 3, warm_up_seconds: 0.1, seconds: 0.3, seed: 1 },
        program_bytes: 20_000_000,
        onnx_runtime: Some(LibraryFacts { version: "1.32.0".into(), bytes: 25_000_000 }),
        towers: vec![tower(TowerKind::Float, 600_000), tower(TowerKind::Exact, 160_000)],
        rows,
        reference: "ort float".into(),
        peaks: vec![PeakRate { product: "float32".into(), gops: 112.0 }],
        noise: 0.02,
        fastest_noise: 0.01,
        against: None,
    }
}
