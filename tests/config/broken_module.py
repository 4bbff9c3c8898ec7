"""A module that cannot be imported, because of what it imports itself."""

import no_such_package_anywhere  # noqa: F401
