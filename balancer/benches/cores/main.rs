//! Prints what the [`model`] says, as tab-separated values; `benches/balancing` makes tables and a plot of it.

mod model;

use corelane_balancer::Policy;
use model::Setting;

/// Endpoints in all.
const ENDPOINTS: usize = 20;
const WORKERS: usize = 16;

fn setting(policy: Policy) -> Setting {
    Setting {
        policy,
        workers: WORKERS,
        service_us: vec![5_000.0; ENDPOINTS],
        weights: vec![1; ENDPOINTS],
        load: 0.7,
        slowdown: 1.0,
        duration_us: 9_000_000,
        seed: 1,
    }
}

/// Fourteen fast endpoints, four slower ones, two that take more than twice as long.
fn uneven_us() -> Vec<f64> {
    [vec![5_000.0; 14], vec![8_000.0; 4], vec![12_000.0; 2]].concat()
}

/// What an operator who has measured them sets.
fn weights(service_us: &[f64]) -> Vec<u32> {
    #[allow(clippy::cast_possible_truncation, reason = "they are below 100")]
    service_us.iter().map(|service_us| (120_000.0 / service_us) as u32).collect()
}

fn main() {
    let print = |scenario: &str, setting: &Setting| {
        let outcome = setting.run();
        println!(
            "{scenario}\t{}\t{:.2}\t{:.3}\t{:.3}\t{:.3}\t{:.3}",
            setting.policy.name(),
            setting.load,
            outcome.p50_ms,
            outcome.p99_ms,
            outcome.imbalance,
            outcome.bytes_imbalance
        );
    };
    for policy in Policy::ALL {
        let even = setting(policy);
        print("even", &even);
        print("slowdown", &Setting { slowdown: 20.0, load: 0.5, ..even.clone() });
        print("one-core", &Setting { workers: 1, ..even.clone() });
        let uneven = Setting { service_us: uneven_us(), ..even };
        let weights = weights(&uneven.service_us);
        for percent in (10..=90).step_by(5) {
            let load = f64::from(percent) / 100.0;
            print("uneven", &Setting { load, ..uneven.clone() });
            print("uneven-weights", &Setting { load, weights: weights.clone(), ..uneven.clone() });
        }
    }
}
