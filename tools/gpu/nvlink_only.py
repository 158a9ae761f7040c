"""Lets DeepEP 1.2.1's low-latency kernels run on one machine without an RDMA device: nvlink_only.py SITE.

All of their traffic can go over NVLink there, but the dispatch kernel asserts that NVSHMEM has made as many IBGDA
queue pairs as there are local experts, and without a NIC it has made none. With DEEPEP_NVLINK_ONLY set, NVSHMEM is
told to leave the network out, and that number is written into its device-side state after the start. For trials only.
"""

import sys
from pathlib import Path

HELPER = '''

def _claim_queue_pairs(count):
    """Writes num_rc_per_pe of NVSHMEM's device-side IBGDA state (offset 28 of nvshmemi_ibgda_device_state_v1)."""
    import ctypes, struct
    path = deep_ep_cpp.__file__
    data = open(path, "rb").read()
    shoff, = struct.unpack_from("<Q", data, 40)
    entry, number = struct.unpack_from("<HH", data, 58)
    sections = [struct.unpack_from("<IIQQQQIIQQ", data, shoff + i * entry) for i in range(number)]
    value = None
    for section in sections:
        if section[1] == 2:  # SHT_SYMTAB
            names = sections[section[6]]
            for at in range(section[4], section[4] + section[5], 24):
                name, _, _, _, address, size = struct.unpack_from("<IBBHQQ", data, at)
                start = names[4] + name
                if size == 8384 and data[start:data.index(b"\\0", start)] == b"nvshmemi_ibgda_device_state_d":
                    value = address
    assert value, "no nvshmemi_ibgda_device_state_d in " + path
    base = min(int(l.split("-")[0], 16) for l in open("/proc/self/maps") if l.rstrip().endswith(path))
    cudart = ctypes.CDLL("libcudart.so.13")
    words = [ctypes.c_void_p, ctypes.c_void_p, ctypes.c_size_t, ctypes.c_size_t, ctypes.c_int]
    cudart.cudaMemcpyToSymbol.argtypes = cudart.cudaMemcpyFromSymbol.argtypes = words
    number = ctypes.c_uint32(count)
    before = ctypes.c_uint32(0)
    cudart.cudaMemcpyFromSymbol(ctypes.byref(before), base + value, 4, 28, 2)
    code = cudart.cudaMemcpyToSymbol(base + value, ctypes.byref(number), 4, 28, 1)
    print(f"DeepEP over NVLink alone: num_rc_per_pe {before.value} -> {count}, status {code}", flush=True)
    assert code == 0
'''
site = Path(sys.argv[1])
file = site / "deep_ep" / "buffer.py"
text = file.read_text()
if "_claim_queue_pairs" not in text:
    head, sync, rest = text.partition("        self.runtime.sync(device_ids, ipc_handles, root_unique_id)\n")
    assert sync, "another DeepEP than 1.2.1"
    head = head.replace(
        "            os.environ['NVSHMEM_IB_ENABLE_IBGDA'] = '1'\n",
        "            os.environ['NVSHMEM_IB_ENABLE_IBGDA'] = '0' if os.environ.get('DEEPEP_NVLINK_ONLY') else '1'\n"
        "            if os.environ.get('DEEPEP_NVLINK_ONLY'):\n"
        "                os.environ['NVSHMEM_REMOTE_TRANSPORT'] = 'none'\n",
    )
    claim = (
        "        if low_latency_mode and os.environ.get('DEEPEP_NVLINK_ONLY'):\n"
        "            _claim_queue_pairs(num_qps_per_rank)\n"
    )
    head = head.replace("\n\nclass Buffer:", HELPER + "\n\nclass Buffer:", 1)
    file.write_text(head + sync + claim + rest)
print("DeepEP: NVLink alone where DEEPEP_NVLINK_ONLY is set")
