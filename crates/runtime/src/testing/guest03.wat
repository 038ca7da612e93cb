;; A test guest of WASI 0.3. The path's first letter says what it does; see `crate::tests::wasi03`.
(component
  (import "wasi:http/types@0.3.0" (instance $http
    (export "fields" (type $fields (sub resource)))
    (export "request" (type $request (sub resource)))
    (export "response" (type $response (sub resource)))
    (type $dns' (record (field "rcode" (option string)) (field "info-code" (option u16))))
    (export "DNS-error-payload" (type $dns (eq $dns')))
    (type $tls' (record (field "alert-id" (option u8)) (field "alert-message" (option string))))
    (export "TLS-alert-received-payload" (type $tls (eq $tls')))
    (type $size' (record (field "field-name" (option string)) (field "field-size" (option u32))))
    (export "field-size-payload" (type $size (eq $size')))
    (type $error-code' (variant
      (case "DNS-timeout") (case "DNS-error" $dns) (case "destination-not-found")
      (case "destination-unavailable") (case "destination-IP-prohibited")
      (case "destination-IP-unroutable") (case "connection-refused") (case "connection-terminated")
      (case "connection-timeout") (case "connection-read-timeout")
      (case "connection-write-timeout") (case "connection-limit-reached")
      (case "TLS-protocol-error") (case "TLS-certificate-error") (case "TLS-alert-received" $tls)
      (case "HTTP-request-denied") (case "HTTP-request-length-required")
      (case "HTTP-request-body-size" (option u64)) (case "HTTP-request-method-invalid")
      (case "HTTP-request-URI-invalid") (case "HTTP-request-URI-too-long")
      (case "HTTP-request-header-section-size" (option u32))
      (case "HTTP-request-header-size" (option $size))
      (case "HTTP-request-trailer-section-size" (option u32))
      (case "HTTP-request-trailer-size" $size) (case "HTTP-response-incomplete")
      (case "HTTP-response-header-section-size" (option u32))
      (case "HTTP-response-header-size" $size) (case "HTTP-response-body-size" (option u64))
      (case "HTTP-response-trailer-section-size" (option u32))
      (case "HTTP-response-trailer-size" $size)
      (case "HTTP-response-transfer-coding" (option string))
      (case "HTTP-response-content-coding" (option string)) (case "HTTP-response-timeout")
      (case "HTTP-upgrade-failed") (case "HTTP-protocol-error") (case "loop-detected")
      (case "configuration-error") (case "internal-error" (option string))))
    (export "error-code" (type $error-code (eq $error-code')))
    (export "[constructor]fields" (func (result (own $fields))))
    (export "[method]request.get-path-with-query" (func
      (param "self" (borrow $request)) (result (option string))))
    (export "[static]response.new" (func
      (param "headers" (own $fields)) (param "contents" (option (stream u8)))
      (param "trailers" (future (result (option (own $fields)) (error $error-code))))
      (result (tuple (own $response) (future (result (error $error-code)))))))
    (export "[method]response.set-status-code" (func
      (param "self" (borrow $response)) (param "status-code" u16) (result (result))))))
  (alias export $http "fields" (type $fields))
  (alias export $http "request" (type $request))
  (alias export $http "response" (type $response))
  (alias export $http "error-code" (type $error-code))
  (import "wasi:clocks/monotonic-clock@0.3.0" (instance $clock
    (export "wait-for" (func async (param "how-long" u64)))))
  (import "wasi:cli/stdout@0.3.0" (instance $stdout
    (type $code' (enum "io" "illegal-byte-sequence" "pipe"))
    (export "error-code" (type $code (eq $code')))
    (export "write-via-stream" (func
      (param "data" (stream u8)) (result (future (result (error $code))))))))
  (alias export $stdout "error-code" (type $cli-code))
  (import "gyre:test/host" (instance $test (export "panic" (func))))

  (core module $memory
    (memory (export "memory") 2)
    (global $next (mut i32) (i32.const 65536))
    (func (export "realloc") (param i32 i32 i32 i32) (result i32)
      (local $at i32)
      (local.set $at (i32.and (i32.add (global.get $next) (i32.const 7)) (i32.const -8)))
      (global.set $next (i32.add (local.get $at) (local.get 3)))
      (local.get $at)))
  (core instance $m (instantiate $memory))
  (alias core export $m "memory" (core memory $mem))
  (alias core export $m "realloc" (core func $realloc))

  (type $bytes (stream u8))
  (type $end (future (result (option (own $fields)) (error $error-code))))
  (type $sent (future (result (error $error-code))))
  (type $logged (future (result (error $cli-code))))
  (core func $fields-new (canon lower (func $http "[constructor]fields")))
  (core func $path (canon lower (func $http "[method]request.get-path-with-query")
    (memory $mem) (realloc $realloc)))
  (core func $response-new (canon lower (func $http "[static]response.new") (memory $mem)))
  (core func $status (canon lower (func $http "[method]response.set-status-code") (memory $mem)))
  (core func $drop-request (canon resource.drop $request))
  (core func $wait-for (canon lower (func $clock "wait-for") async (memory $mem)))
  (core func $print (canon lower (func $stdout "write-via-stream")))
  (core func $panic (canon lower (func $test "panic")))
  (core func $stream-new (canon stream.new $bytes))
  (core func $stream-write (canon stream.write $bytes async (memory $mem)))
  (core func $stream-drop (canon stream.drop-writable $bytes))
  (core func $future-new (canon future.new $end))
  (core func $future-write (canon future.write $end async (memory $mem)))
  (core func $future-drop (canon future.drop-writable $end))
  (core func $sent-drop (canon future.drop-readable $sent))
  (core func $logged-drop (canon future.drop-readable $logged))
  (core func $set-new (canon waitable-set.new))
  (core func $set-drop (canon waitable-set.drop))
  (core func $join (canon waitable.join))
  (core func $subtask-drop (canon subtask.drop))
  (core func $context-get (canon context.get i32 0))
  (core func $context-set (canon context.set i32 0))
  (core func $backpressure-inc (canon backpressure.inc))
  (core func $return (canon task.return
    (result (result (own $response) (error $error-code))) (memory $mem)))

  (core module $guest
    (import "m" "memory" (memory 2))
    (import "m" "realloc" (func $realloc (param i32 i32 i32 i32) (result i32)))
    (import "h" "fields-new" (func $fields_new (result i32)))
    (import "h" "path" (func $path (param i32 i32)))
    (import "h" "response-new" (func $response_new (param i32 i32 i32 i32 i32)))
    (import "h" "status" (func $status (param i32 i32) (result i32)))
    (import "h" "drop-request" (func $drop_request (param i32)))
    (import "h" "wait-for" (func $wait_for (param i64) (result i32)))
    (import "h" "print" (func $print (param i32) (result i32)))
    (import "h" "panic" (func $panic))
    (import "h" "stream-new" (func $stream_new (result i64)))
    (import "h" "stream-write" (func $stream_write (param i32 i32 i32) (result i32)))
    (import "h" "stream-drop" (func $stream_drop (param i32)))
    (import "h" "future-new" (func $future_new (result i64)))
    (import "h" "future-write" (func $future_write (param i32 i32) (result i32)))
    (import "h" "future-drop" (func $future_drop (param i32)))
    (import "h" "sent-drop" (func $sent_drop (param i32)))
    (import "h" "logged-drop" (func $logged_drop (param i32)))
    (import "h" "set-new" (func $set_new (result i32)))
    (import "h" "set-drop" (func $set_drop (param i32)))
    (import "h" "join" (func $join (param i32 i32)))
    (import "h" "subtask-drop" (func $subtask_drop (param i32)))
    (import "h" "context-get" (func $context_get (result i32)))
    (import "h" "context-set" (func $context_set (param i32)))
    (import "h" "backpressure-inc" (func $backpressure_inc))
    (import "h" "return" (func $return (param i32 i32 i32 i64 i32 i32 i32 i32)))

    ;; 0..64: a result that is ok and an option that is none, then scratch from 64.
    (data (i32.const 1024) "hello")
    (data (i32.const 1040) "line\0a")
    ;; Requests so far, and those that wait for another (`m`).
    (global $count (mut i32) (i32.const 0))
    (global $here (mut i32) (i32.const 0))

    ;; A task's state: what to do, the step, the body's stream, the trailers' future, the set it waits with, where
    ;; its text is and how long, and two bytes of text.
    (func $op (param $s i32) (result i32) (i32.load (local.get $s)))
    (func $step (param $s i32) (result i32) (i32.load offset=4 (local.get $s)))
    (func $goto (param $s i32) (param $step i32) (i32.store offset=4 (local.get $s) (local.get $step)))

    ;; The code that says: call back when there is an event.
    (func $wait (param $s i32) (param $for i32) (result i32)
      (call $join (local.get $for) (i32.load offset=16 (local.get $s)))
      (i32.or (i32.const 2) (i32.shl (i32.load offset=16 (local.get $s)) (i32.const 4))))

    (func $sleep (param $s i32) (param $time i64) (result i32)
      (local $started i32)
      (local.set $started (call $wait_for (local.get $time)))
      ;; It does not return at once.
      (if (i32.eq (i32.and (local.get $started) (i32.const 15)) (i32.const 2)) (then unreachable))
      (call $wait (local.get $s) (i32.shr_u (local.get $started) (i32.const 4))))

    ;; Answers 200 with a body to come.
    (func $begin (param $s i32)
      (local $stream i64) (local $future i64) (local $at i32)
      (local.set $stream (call $stream_new))
      (local.set $future (call $future_new))
      (i32.store offset=8 (local.get $s) (i32.wrap_i64 (i64.shr_u (local.get $stream) (i64.const 32))))
      (i32.store offset=12 (local.get $s) (i32.wrap_i64 (i64.shr_u (local.get $future) (i64.const 32))))
      (call $response_new (call $fields_new) (i32.const 1) (i32.wrap_i64 (local.get $stream))
        (i32.wrap_i64 (local.get $future)) (i32.const 64))
      (call $sent_drop (i32.load (i32.const 68)))
      (drop (call $status (i32.load (i32.const 64)) (i32.const 200)))
      (call $return (i32.const 0) (i32.load (i32.const 64)) (i32.const 0) (i64.const 0)
        (i32.const 0) (i32.const 0) (i32.const 0) (i32.const 0)))

    ;; The text of a state: 5 bytes of `hello` unless it is set.
    (func $text (param $s i32) (param $digit i32)
      (i32.store8 offset=28 (local.get $s) (i32.add (i32.const 48) (local.get $digit)))
      (i32.store offset=20 (local.get $s) (i32.add (local.get $s) (i32.const 28)))
      (i32.store offset=24 (local.get $s) (i32.const 1)))

    (func $send (param $s i32) (result i32)
      (call $stream_write (i32.load offset=8 (local.get $s))
        (i32.load offset=20 (local.get $s)) (i32.load offset=24 (local.get $s))))

    ;; What is done before the answer: 0 when it is over, or a code to wait.
    (func $before (param $s i32) (result i32)
      (local $op i32)
      (local.set $op (call $op (local.get $s)))
      ;; c: the number of the request in this instance
      (if (i32.eq (local.get $op) (i32.const 99)) (then
        (call $text (local.get $s) (global.get $count))))
      ;; w: after 30 ms
      (if (i32.eq (local.get $op) (i32.const 119)) (then
        (if (i32.eqz (call $step (local.get $s))) (then
          (call $goto (local.get $s) (i32.const 1))
          (return (call $sleep (local.get $s) (i64.const 30000000)))))))
      ;; f: never
      (if (i32.eq (local.get $op) (i32.const 102)) (then
        (return (call $sleep (local.get $s) (i64.const 3600000000000)))))
      ;; t: a trap while others wait; u: a trap after 30 ms
      (if (i32.eq (local.get $op) (i32.const 116)) (then unreachable))
      (if (i32.eq (local.get $op) (i32.const 117)) (then
        (if (call $step (local.get $s)) (then unreachable))
        (call $goto (local.get $s) (i32.const 1))
        (return (call $sleep (local.get $s) (i64.const 30000000)))))
      ;; l: a loop without end; p: a panic of the host
      (if (i32.eq (local.get $op) (i32.const 108)) (then (loop $l (br $l))))
      (if (i32.eq (local.get $op) (i32.const 112)) (then (call $panic)))
      ;; b: no more calls from now on
      (if (i32.eq (local.get $op) (i32.const 98)) (then
        (if (i32.eqz (call $step (local.get $s))) (then
          (call $backpressure_inc)
          (call $goto (local.get $s) (i32.const 1))
          (return (call $sleep (local.get $s) (i64.const 60000000)))))))
      ;; m: once another one like it is here; says how many are
      (if (i32.eq (local.get $op) (i32.const 109)) (then
        (if (i32.eqz (call $step (local.get $s))) (then
          (call $goto (local.get $s) (i32.const 1))
          (global.set $here (i32.add (global.get $here) (i32.const 1)))))
        (if (i32.lt_u (global.get $here) (i32.const 2)) (then
          (return (call $sleep (local.get $s) (i64.const 1000000)))))
        (call $text (local.get $s) (global.get $here))))
      (i32.const 0))

    (func $print_line (local $stream i64)
      (local.set $stream (call $stream_new))
      (call $logged_drop (call $print (i32.wrap_i64 (local.get $stream))))
      (drop (call $stream_write (i32.wrap_i64 (i64.shr_u (local.get $stream) (i64.const 32)))
        (i32.const 1040) (i32.const 5))))

    ;; Goes on with a task until it waits or ends.
    (func $run (param $s i32) (result i32)
      (local $code i32) (local $op i32)
      (local.set $op (call $op (local.get $s)))
      (if (i32.lt_u (call $step (local.get $s)) (i32.const 100)) (then
        (if (i32.eq (local.get $op) (i32.const 120)) (then
          ;; x: an error code
          (call $return (i32.const 1) (i32.const 36) (i32.const 0) (i64.const 0)
            (i32.const 0) (i32.const 0) (i32.const 0) (i32.const 0))
          (return (i32.const 0))))
        (local.set $code (call $before (local.get $s)))
        (if (local.get $code) (then (return (local.get $code))))
        (call $begin (local.get $s))
        (call $goto (local.get $s) (i32.const 100))
        (local.set $code (call $send (local.get $s)))
        ;; The host takes it only after the answer.
        (if (i32.ne (local.get $code) (i32.const -1)) (then unreachable))
        (return (call $wait (local.get $s) (i32.load offset=8 (local.get $s))))))
      (if (i32.eq (call $step (local.get $s)) (i32.const 100)) (then
        ;; h: a trap within the body
        (if (i32.eq (local.get $op) (i32.const 104)) (then unreachable))
        ;; s: more and more of the body, every 20 ms
        (if (i32.eq (local.get $op) (i32.const 115)) (then
          (call $join (i32.load offset=8 (local.get $s)) (i32.const 0))
          (call $goto (local.get $s) (i32.const 101))
          (return (call $sleep (local.get $s) (i64.const 20000000)))))
        (call $join (i32.load offset=8 (local.get $s)) (i32.const 0))
        (call $stream_drop (i32.load offset=8 (local.get $s)))
        (call $goto (local.get $s) (i32.const 102))
        (local.set $code (call $future_write (i32.load offset=12 (local.get $s)) (i32.const 0)))
        (if (i32.eq (local.get $code) (i32.const -1)) (then
          (return (call $wait (local.get $s) (i32.load offset=12 (local.get $s))))))))
      (if (i32.eq (call $step (local.get $s)) (i32.const 101)) (then
        (call $goto (local.get $s) (i32.const 100))
        (local.set $code (call $send (local.get $s)))
        (if (i32.eq (local.get $code) (i32.const -1)) (then
          (return (call $wait (local.get $s) (i32.load offset=8 (local.get $s))))))
        ;; Its reader has gone.
        (if (i32.eq (i32.and (local.get $code) (i32.const 15)) (i32.const 1)) (then
          (return (i32.const 0))))
        (return (call $run (local.get $s)))))
      (if (i32.eq (call $step (local.get $s)) (i32.const 102)) (then
        (call $join (i32.load offset=12 (local.get $s)) (i32.const 0))
        (call $future_drop (i32.load offset=12 (local.get $s)))
        ;; a: after the response, 30 ms later, a line
        (if (i32.eq (local.get $op) (i32.const 97)) (then
          (call $goto (local.get $s) (i32.const 103))
          (return (call $sleep (local.get $s) (i64.const 30000000)))))
        ;; o: after the response, without end
        (if (i32.eq (local.get $op) (i32.const 111)) (then
          (call $goto (local.get $s) (i32.const 104))
          (return (call $sleep (local.get $s) (i64.const 3600000000000)))))
        ;; g: a trap after the response
        (if (i32.eq (local.get $op) (i32.const 103)) (then unreachable))))
      (if (i32.eq (call $step (local.get $s)) (i32.const 103)) (then (call $print_line)))
      (call $set_drop (i32.load offset=16 (local.get $s)))
      (i32.const 0))

    (func (export "handle") (param $request i32) (result i32)
      (local $s i32)
      (global.set $count (i32.add (global.get $count) (i32.const 1)))
      (local.set $s (call $realloc (i32.const 0) (i32.const 0) (i32.const 8) (i32.const 64)))
      (call $path (local.get $request) (i32.const 64))
      (call $drop_request (local.get $request))
      (i32.store (local.get $s) (i32.load8_u offset=1 (i32.load (i32.const 68))))
      (i32.store offset=4 (local.get $s) (i32.const 0))
      (i32.store offset=16 (local.get $s) (call $set_new))
      (i32.store offset=20 (local.get $s) (i32.const 1024))
      (i32.store offset=24 (local.get $s) (i32.const 5))
      (call $context_set (local.get $s))
      (call $run (local.get $s)))

    (func (export "callback") (param $event i32) (param $of i32) (param $how i32) (result i32)
      ;; Of a call, what it has become; only its end is waited for.
      (if (i32.eq (local.get $event) (i32.const 1)) (then
        (if (i32.ne (local.get $how) (i32.const 2)) (then
          (return (call $wait (call $context_get) (local.get $of)))))
        (call $subtask_drop (local.get $of))))
      (call $run (call $context_get))))

  (core instance $g (instantiate $guest
    (with "m" (instance $m))
    (with "h" (instance
      (export "fields-new" (func $fields-new))
      (export "path" (func $path))
      (export "response-new" (func $response-new))
      (export "status" (func $status))
      (export "drop-request" (func $drop-request))
      (export "wait-for" (func $wait-for))
      (export "print" (func $print))
      (export "panic" (func $panic))
      (export "stream-new" (func $stream-new))
      (export "stream-write" (func $stream-write))
      (export "stream-drop" (func $stream-drop))
      (export "future-new" (func $future-new))
      (export "future-write" (func $future-write))
      (export "future-drop" (func $future-drop))
      (export "sent-drop" (func $sent-drop))
      (export "logged-drop" (func $logged-drop))
      (export "set-new" (func $set-new))
      (export "set-drop" (func $set-drop))
      (export "join" (func $join))
      (export "subtask-drop" (func $subtask-drop))
      (export "context-get" (func $context-get))
      (export "context-set" (func $context-set))
      (export "backpressure-inc" (func $backpressure-inc))
      (export "return" (func $return))))))

  (func $handle async (param "request" (own $request))
    (result (result (own $response) (error $error-code)))
    (canon lift (core func $g "handle") async (memory $mem) (realloc $realloc)
      (callback (func $g "callback"))))
  (instance $handler (export "handle" (func $handle)))
  (export "wasi:http/handler@0.3.0" (instance $handler)))
