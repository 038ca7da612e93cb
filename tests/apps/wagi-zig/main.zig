//! A program of the common gateway interface: it answers with what it was told and what it was sent.

const std = @import("std");

pub fn main(init: std.process.Init) !void {
    const io = init.io;
    const variables = init.environ_map;
    var out_buffer: [1024]u8 = undefined;
    var out = std.Io.File.stdout().writer(io, &out_buffer);
    const writer = &out.interface;
    try writer.print("Content-Type: text/plain\nX-Language: zig\n\n{s} {s}?{s}\n", .{
        variables.get("REQUEST_METHOD") orelse "",
        variables.get("PATH_INFO") orelse "",
        variables.get("QUERY_STRING") orelse "",
    });
    var in_buffer: [1024]u8 = undefined;
    var in = std.Io.File.stdin().readerStreaming(io, &in_buffer);
    _ = try in.interface.streamRemaining(writer);
    try writer.flush();
}
