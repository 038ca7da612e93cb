//! How long answers take where a server is half busy: Gyre and its best peer at the same steady rate.

use anyhow::{Result, bail};

use crate::{
    bars::{Bar, Bound},
    cases,
    compare::{Bench, Comparison, Measured, Metric},
    section::Section,
    servers::Host,
};

/// Measures the peaks, and then both at half of the lower one.
pub(crate) fn measure(bench: &Bench<'_>) -> Result<Section> {
    let (gyre, peer) = (Host::GyreServer, Host::WasmtimeTuned);
    let lanes = cases::hello_lanes(bench, &[peer, gyre]);
    let (ready, missing) = bench.prepare(&lanes)?;
    let peaks = bench.rounds(&ready, None)?;
    let rate = half(&peaks)?;
    (bench.progress)(&format!("half of the lower peak: {rate:.0} requests/s"));
    let compared = Comparison { lanes: bench.rounds(&ready, Some(rate))?, missing };
    let ratio = compared.ratio(Metric::P99, gyre.name(), peer.name());
    let bar = Bar {
        measure: "p99 at half the peak rate".to_owned(),
        bound: Bound::AtMost(1.2),
        unit: "× wasmtime serve, tuned",
        measured: ratio,
    };
    let section = Section::of(compared, Metric::P99, vec![bar]);
    Ok(section.note(format!(
        "Requests come at a steady {rate:.0} per second, half of the lower peak ({}). Latency counts from when a \
         request was due.",
        told(&peaks)
    )))
}

/// Half of the lower peak. A peak with failures is none.
pub(crate) fn half(peaks: &[Measured]) -> Result<f64> {
    if let Some(Measured { name, failed, .. }) = peaks.iter().find(|peak| peak.failed > 0) {
        bail!("{failed} requests failed at the peak of {name}");
    }
    let peaks = peaks.iter().map(|peak| peak.requests_per_second);
    Ok((peaks.fold(f64::INFINITY, f64::min) / 2.0).clamp(1.0, 1e9))
}

/// The peaks, told.
pub(crate) fn told(peaks: &[Measured]) -> String {
    let peak = |peak: &Measured| format!("{}: {:.0}", peak.name, peak.requests_per_second);
    peaks.iter().map(peak).collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::compare::tests::lane;

    #[test]
    fn the_slower_one_sets_the_rate() {
        let peaks = [lane("a", &[3000.0, 1000.0, 2000.0], 0), lane("b", &[9000.0], 0)];
        assert!((half(&peaks).unwrap() - 1000.0).abs() < f64::EPSILON);
        assert!(half(&[lane("a", &[3000.0], 1)]).is_err());
        assert_eq!(told(&peaks), "a: 2000, b: 9000");
    }
}
