//! Heads of requests as clients send them.

pub(crate) const SEEDS: [&str; 11] = [
    "/v1/logs\ncontent-type:application/x-protobuf\ncontent-encoding:gzip\nauthorization:Bearer example-token\nsec-gpc:1\ncontent-length:17\n\n",
    "/v1/logs\ncontent-type:Application/JSON; charset=utf-8\ncontent-encoding: GZIP \ncontent-encoding:zstd\n\n",
    "/v1/batch\nauthorization:Basic ZXhhbXBsZS13cml0ZS1rZXk6\ncontent-type:text/plain\n\n",
    "/v1/batch\nauthorization:Bearer a\nauthorization:Bearer b\n\n",
    "/glean/example-token/submit/org-example-hub/baseline/1/167466aa-5334-44d9-a217-f91f3396a4df\ncontent-type:application/json\n\n",
    "/opentelemetry.proto.collector.logs.v1.LogsService/Export\ncontent-type:application/grpc+proto\ngrpc-encoding:deflate\ngrpc-timeout:10S\n\n\u{2}\0\0\0\0\u{3}abc",
    "/a/b\ngrpc-timeout:99999999H\ngrpc-encoding:identity\n\n\u{1}\u{1}\0\0\0\0",
    "/v1/events\nce-specversion:1.0\nce-id:1\nce-source:s%20\nce-type:t\nce-time:2026-11-22T00:00:00Z\ncontent-type:application/json\n\n{\"a\":1}",
    "/v1/events\nce-id:\"a\\\"b\"\nce-id:2\ncontent-type:image/png\n\n\0\0\0\0\0\0",
    "/v1/logs\nsec-gpc:0\nsec-gpc:1\n\n",
    "/v1/events\nsec-gpc: 1, 1\nsec-gpc:11,\t1 \n\n",
];
