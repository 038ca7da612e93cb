// The interfaces of the platform that this application imports.

declare module "fermyon:spin/key-value@2.0.0" {
  export class Store {
    static open(label: string): Store;
    get(key: string): Uint8Array | undefined;
    set(key: string, value: Uint8Array): void;
  }
}

declare module "fermyon:spin/sqlite@2.0.0" {
  export type Value =
    | { tag: "integer"; val: bigint }
    | { tag: "real"; val: number }
    | { tag: "text"; val: string }
    | { tag: "blob"; val: Uint8Array }
    | { tag: "null" };
  export class Connection {
    static open(database: string): Connection;
    execute(statement: string, parameters: Value[]): { columns: string[]; rows: { values: Value[] }[] };
  }
}

declare module "fermyon:spin/variables@2.0.0" {
  export function get(name: string): string;
}

interface FetchEvent extends Event {
  readonly request: Request;
  respondWith(response: Promise<Response> | Response): void;
}

declare function addEventListener(type: "fetch", listener: (event: FetchEvent) => void): void;
