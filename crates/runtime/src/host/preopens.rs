//! `wasi:filesystem/preopens` 0.2: hands out the component's folders, which were opened when it was loaded.

use wasmtime::component::{Linker, Resource};
use wasmtime_wasi::{filesystem::Descriptor, p2::bindings::filesystem::preopens};

use super::{HasHost, HostState};

pub(super) fn add_to_linker(linker: &mut Linker<HostState>) -> wasmtime::Result<()> {
    preopens::add_to_linker::<_, HasHost>(linker, |state| state)
}

impl preopens::Host for HostState {
    fn get_directories(&mut self) -> wasmtime::Result<Vec<(Resource<Descriptor>, String)>> {
        let component = self.component.clone();
        let mut folders = Vec::with_capacity(component.mounts.len());
        for (folder, guest_path) in &component.mounts {
            let descriptor = self.table.push(Descriptor::Dir(folder.clone()))?;
            folders.push((descriptor, guest_path.clone()));
        }
        Ok(folders)
    }
}
