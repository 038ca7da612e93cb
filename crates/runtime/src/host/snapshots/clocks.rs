//! `wasi:clocks`.

use wasmtime::component::{ComponentType, Lift, Linker, Lower, Resource};
use wasmtime_wasi::p2::{
    DynPollable,
    bindings::clocks::{monotonic_clock, wall_clock},
};

use super::{HostState, Snapshot, ours, same, this};

pub(super) fn add_to_linker(
    linker: &mut Linker<HostState>,
    snapshot: Snapshot,
) -> wasmtime::Result<()> {
    let wall = &mut snapshot.instance(linker, "clocks/wall-clock")?;
    same!(wall, wall_clock::Host, this, "": now(), resolution());
    let monotonic = &mut snapshot.instance(linker, "clocks/monotonic-clock")?;
    same!(monotonic, monotonic_clock::Host, this, "": now(), resolution());
    match snapshot {
        Snapshot::Rc20231018 => {
            ours!(monotonic: "subscribe" = subscribe => (when, is_absolute));
            let timezone = &mut snapshot.instance(linker, "clocks/timezone")?;
            ours!(timezone: "display" = display => (when), "utc-offset" = utc_offset => (when));
        }
        Snapshot::Rc20231110 => same!(
            monotonic, monotonic_clock::Host, this, "":
            subscribe_instant(when),
            subscribe_duration(when),
        ),
    }
    Ok(())
}

fn subscribe(
    state: &mut HostState,
    when: u64,
    is_absolute: bool,
) -> wasmtime::Result<Resource<DynPollable>> {
    if is_absolute {
        monotonic_clock::Host::subscribe_instant(state, when)
    } else {
        monotonic_clock::Host::subscribe_duration(state, when)
    }
}

/// How people see a point in time.
#[derive(Debug, Clone, ComponentType, Lift, Lower)]
#[component(record)]
struct TimezoneDisplay {
    #[component(name = "utc-offset")]
    utc_offset: i32,
    name: String,
    #[component(name = "in-daylight-saving-time")]
    in_daylight_saving_time: bool,
}

// Guests are not told where they run: their zone is UTC.

fn display(_: &mut HostState, _: wall_clock::Datetime) -> wasmtime::Result<TimezoneDisplay> {
    Ok(TimezoneDisplay { utc_offset: 0, name: "UTC".to_owned(), in_daylight_saving_time: false })
}

fn utc_offset(_: &mut HostState, _: wall_clock::Datetime) -> wasmtime::Result<i32> {
    Ok(0)
}
