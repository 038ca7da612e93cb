//! `wasi:filesystem`.

use wasmtime::component::{ComponentType, Lift, Linker, Lower, Resource, flags};
use wasmtime_wasi::{
    filesystem::{Descriptor, WasiFilesystemView as _},
    p2::{
        FsError, FsResult, ReaddirIterator,
        bindings::filesystem::{
            preopens,
            types::{
                self, DescriptorFlags, DescriptorType, ErrorCode, HostDescriptor,
                HostDirectoryEntryStream, OpenFlags, PathFlags,
            },
        },
    },
};

use super::{HostState, Snapshot, borrow, ours, ours_async, resource, same, same_async, this};

pub(super) fn add_to_linker(
    linker: &mut Linker<HostState>,
    snapshot: Snapshot,
) -> wasmtime::Result<()> {
    let preopens = &mut snapshot.instance(linker, "filesystem/preopens")?;
    same!(preopens, preopens::Host, this, "": get_directories());
    let types = &mut snapshot.instance(linker, "filesystem/types")?;
    resource::<Descriptor>(types, "descriptor", |state, descriptor| {
        HostDescriptor::drop(&mut state.filesystem(), descriptor)
    })?;
    resource::<ReaddirIterator>(types, "directory-entry-stream", |state, stream| {
        HostDirectoryEntryStream::drop(&mut state.filesystem(), stream)
    })?;
    same!(types, types::Host, HostState::filesystem, "": filesystem_error_code(error));
    same_async!(
        types, HostDirectoryEntryStream, HostState::filesystem, "[method]directory-entry-stream.":
        read_directory_entry(this),
    );
    same!(
        types, HostDescriptor, HostState::filesystem, "[method]descriptor.":
        read_via_stream(this, offset),
        write_via_stream(this, offset),
        append_via_stream(this),
    );
    same_async!(
        types, HostDescriptor, HostState::filesystem, "[method]descriptor.":
        advise(this, offset, len, advice),
        sync_data(this),
        get_flags(this),
        get_type(this),
        set_size(this, size),
        set_times(this, accessed, modified),
        read(this, len, offset),
        write(this, buffer, offset),
        read_directory(this),
        sync(this),
        create_directory_at(this, path),
        stat(this),
        stat_at(this, path_flags, path),
        set_times_at(this, path_flags, path, accessed, modified),
        link_at(this, path_flags, path, to, new_path),
        readlink_at(this, path),
        remove_directory_at(this, path),
        rename_at(this, path, to, new_path),
        symlink_at(this, old_path, new_path),
        unlink_file_at(this, path),
        is_same_object(this, other),
        metadata_hash(this),
        metadata_hash_at(this, path_flags, path),
    );
    match snapshot {
        Snapshot::Rc20231018 => {
            ours_async!(
                types:
                "[method]descriptor.open-at" =
                    open_at => (this, path_flags, path, open, flags, modes),
                "[method]descriptor.access-at" = access_at => (this, path_flags, path, access),
            );
            ours!(
                types:
                "[method]descriptor.change-file-permissions-at" =
                    change_permissions => (this, path_flags, path, modes),
                "[method]descriptor.change-directory-permissions-at" =
                    change_permissions => (this, path_flags, path, modes),
                "[method]descriptor.lock-shared" = lock => (this),
                "[method]descriptor.lock-exclusive" = lock => (this),
                "[method]descriptor.try-lock-shared" = lock => (this),
                "[method]descriptor.try-lock-exclusive" = lock => (this),
                "[method]descriptor.unlock" = lock => (this),
            );
        }
        Snapshot::Rc20231110 => same_async!(
            types, HostDescriptor, HostState::filesystem, "[method]descriptor.":
            open_at(this, path_flags, path, open, flags),
        ),
    }
    Ok(())
}

flags! {
    Modes {
        #[component(name = "readable")]
        const READABLE;
        #[component(name = "writable")]
        const WRITABLE;
        #[component(name = "executable")]
        const EXECUTABLE;
    }
}

/// What is asked of a path.
#[derive(Debug, Clone, Copy, ComponentType, Lift, Lower)]
#[component(variant)]
enum Access {
    #[component(name = "access")]
    Access(Modes),
    #[component(name = "exists")]
    Exists,
}

/// As in 0.2, where who creates a file cannot say what others may do with it.
async fn open_at(
    state: &mut HostState,
    this: Resource<Descriptor>,
    path_flags: PathFlags,
    path: String,
    open: OpenFlags,
    flags: DescriptorFlags,
    _: Modes,
) -> FsResult<Resource<Descriptor>> {
    HostDescriptor::open_at(&mut state.filesystem(), this, path_flags, path, open, flags).await
}

/// Whether something can be opened is found out by opening it: what counts is what the guest may do, not the mode
/// that the file has on this machine.
async fn access_at(
    state: &mut HostState,
    this: Resource<Descriptor>,
    path_flags: PathFlags,
    path: String,
    access: Access,
) -> FsResult<()> {
    let mut view = state.filesystem();
    let stat = HostDescriptor::stat_at(&mut view, borrow(&this), path_flags, path.clone()).await?;
    let Access::Access(modes) = access else { return Ok(()) };
    let is_folder = match stat.type_ {
        DescriptorType::Directory => true,
        DescriptorType::RegularFile => false,
        // Opening anything else may have effects.
        _ => return Err(ErrorCode::Access.into()),
    };
    let mut flags = DescriptorFlags::empty();
    if modes.contains(Modes::EXECUTABLE) {
        if !is_folder {
            return Err(ErrorCode::Access.into());
        }
        flags |= DescriptorFlags::READ;
    }
    if modes.contains(Modes::READABLE) {
        flags |= DescriptorFlags::READ;
    }
    if modes.contains(Modes::WRITABLE) {
        flags |= if is_folder { DescriptorFlags::MUTATE_DIRECTORY } else { DescriptorFlags::WRITE };
    }
    if flags == DescriptorFlags::empty() {
        return Ok(());
    }
    let open = if is_folder { OpenFlags::DIRECTORY } else { OpenFlags::empty() };
    let opened = HostDescriptor::open_at(&mut view, this, path_flags, path, open, flags).await?;
    HostDescriptor::drop(&mut view, opened).map_err(FsError::trap)
}

// What 0.2 left out. A guest that asks for it is told so.

fn change_permissions(
    _: &mut HostState,
    _: Resource<Descriptor>,
    _: PathFlags,
    _: String,
    _: Modes,
) -> FsResult<()> {
    Err(ErrorCode::Unsupported.into())
}

fn lock(_: &mut HostState, _: Resource<Descriptor>) -> FsResult<()> {
    Err(ErrorCode::Unsupported.into())
}
