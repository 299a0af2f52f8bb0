"""Which state of the sandbox page the README's pictures show: `make pictures` writes it down, a tidy test compares."""

import hashlib

from deploy.sandbox.server import page_files


def state_of_page() -> str:
    """One digest of every file of the page."""
    digest = hashlib.sha256()
    for path, (content, _) in sorted(page_files().items()):
        digest.update(f"{path} {hashlib.sha256(content).hexdigest()}\n".encode())
    return digest.hexdigest()


if __name__ == "__main__":
    print(state_of_page())
