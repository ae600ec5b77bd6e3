"""ONNX files: `net` runs one, `card` reads what stands beside it, `graph` looks into it, `export`
writes one."""
